"""What the tests do with each command of the documentation: every one has exactly one category, with a reason."""

import re
from collections.abc import Callable
from typing import NamedTuple

from commands_in_docs import Command

from scalegan.cli import VERBS


class Category(NamedTuple):
    """A kind of command.

    Args:
        why: what is done with it, and, if it is not run, why not.
        takes: whether a command belongs here.
    """

    why: str
    takes: Callable[[tuple[str, ...]], bool]


def ours(words: tuple[str, ...]) -> tuple[str, ...]:
    """The `scalegan VERB ...` in a command, also behind a launcher, a container or sbatch; empty if it has none."""
    if words[0] == "scalegan":
        return words
    if words[0] in ("docker", "apptainer"):
        place = next((i for i, word in enumerate(words) if word.split(":")[0] == "scalegan" and words[i + 1:]
                      and words[i + 1] in VERBS), None)
        return () if place is None else ("scalegan", *words[place + 1:])
    if words[:2] == ("sbatch", "slurm/accelerate.sbatch"):
        return ("scalegan", "train", *words[2:])
    if words[0] in ("accelerate", "torchrun", "python"):
        for i, word in enumerate(words):
            if found := re.fullmatch(r"scalegan(?:/(\w+)\.py|\.(\w+))", word):
                return ("scalegan", found[1] or found[2], *words[i + 1:])
    return ()


def _verb(*verbs: str) -> Callable[[tuple[str, ...]], bool]:
    return lambda words: ours(words)[1:2] != () and ours(words)[1] in verbs


def _has(words: tuple[str, ...], *some: str) -> bool:
    return any(word.startswith(some) for word in words)


def _in_network(words: tuple[str, ...]) -> bool:
    return _has(words, "hf://") or (words[:2] == ("scalegan", "push") and "--to-folder" not in words)


def _needs_weights(words: tuple[str, ...]) -> bool:
    """Those of weights that nobody may ship, or of packages that not every machine has."""
    return _verb("convert")(words) or "--weights" in words or "identity,attribute_hamming" in words \
        or "minilm" in words or "ffcv" in words


def _is_long(words: tuple[str, ...]) -> bool:
    return _verb("study", "stop", "explore", "monitor")(words) or (_verb("directions")(words) and "--data" in words) \
        or "--baseline" in words


# The first run of a newcomer, and resuming it.
_AUTOMATIC = (("data.path=photos",), ("run_dir=runs/photos",))


def _trained(words: tuple[str, ...]) -> bool:
    return words[:3] == ("scalegan", "train", "recipe=quickstart") \
        or (words[:3] == ("scalegan", "train", "recipe=auto") and words[3:] in _AUTOMATIC)


def _of_the_new_game(words: tuple[str, ...]) -> bool:
    return "recipe=pacgan_ring8" in words


def _parsed(words: tuple[str, ...]) -> bool:
    return not _verb("train", "submit")(words) and bool(ours(words)) and (
        _in_network(words) or _needs_weights(words) or _is_long(words) or words[0] != "scalegan")


def _tool(words: tuple[str, ...]) -> bool:
    return words[0] == "python" and words[1].startswith("tools/")


CATEGORIES = {
    "trained": Category("trained, with few images and a narrow network", _trained),
    "resolved": Category("its recipe is found and merged with its keys, and every key, value and combination is "
                         "checked; training it takes minutes to weeks, or data or networks that are not here "
                         "(tests/config/test_recipes.py trains every recipe in small)",
                         lambda words: _verb("train")(words) and not _trained(words) and not _of_the_new_game(words)),
    "new game": Category("run by test_new_game.py, in a package that has the tutorial's game", _of_the_new_game),
    "submitted": Category("run as --dry-run, which writes the job's script; SLURM is in tests/slurm", _verb("submit")),
    "parsed": Category("its arguments are read by the command's own parser, and it stops there: it needs the network, "
                       "weights that cannot be shipped, several processes or minutes, or waits for somebody", _parsed),
    "run": Category("run on tiny runs and data, with fewer samples",
                    lambda words: bool(ours(words)) and not _verb("train", "submit")(words) and not _parsed(words)),
    "tool": Category("its arguments are read by the tool's own parser; tools take minutes to hours", _tool),
    "target": Category("the Makefile has this target", lambda words: words[0] == "make"),
    "installing": Category("its extras exist; installing needs the network (tests/test_wheel.py installs the wheel)",
                           lambda words: words[0] in ("pip", "uv", "conda") or "venv" in words),
    "elsewhere": Category("a program that is not ours; the files of ours that it names exist",
                          lambda words: (words[0] in ("cat", "grep", "id", "unzip", "docker", "apptainer", "sbatch")
                          and not ours(words)) or words[:2] == ("python", "-c")),
}


def categories(command: Command) -> list[str]:
    return [name for name, category in CATEGORIES.items() if category.takes(command.words)]
