"""What somebody meant by an argument that is not `key=value`: the right form of it, as the end of an error's line."""

from pathlib import Path

from scalegan.config.catalogue import available
from scalegan.support.names import nearest

_FLAGS = ("--print-config", "--help")


def _open(text: str) -> bool:
    """Whether brackets are left open, as where a shell has split a value at its spaces."""
    return any(text.count(left) > text.count(right) for left, right in ("{}", "[]"))


def hint(arguments: list[str], wrong: str) -> str:
    """`; write ...` for an option in another tool's manner, a recipe, a run folder, a folder of images; or nothing."""
    begun = [i for i, a in enumerate(arguments[:arguments.index(wrong)]) if "=" in a and _open(a)]
    if begun:
        parts = arguments[begun[-1]:]
        joined = [" ".join(parts[: n + 1]) for n in range(len(parts))]
        whole = next((text for text in joined if not _open(text)), "KEY={...}")
        return f"; the value before it has spaces, so quote it: '{whole}'"
    option = wrong.lstrip("-")
    if wrong.startswith("-"):
        key, equals, value = option.partition("=")
        following = arguments[arguments.index(wrong) + 1 :][:1]
        if not equals and following and "=" not in following[0] and not following[0].startswith("-"):
            equals, value = "=", following[0]
        close = nearest(f"--{option}", _FLAGS, 0.7)
        return f"; write {key}={value}" if equals else f"; did you mean {close}?" if close else \
            f"; keys have no dashes: {key}=VALUE" if key else ""
    path = Path(wrong)
    if (path / "config.yaml").is_file():
        return f"; to resume that run, write recipe={path / 'config.yaml'}"
    if wrong.endswith((".yaml", ".yml")):
        return f"; write recipe={wrong}"
    if wrong in (*available(), "auto"):
        return f"; write recipe={wrong}"
    if path.is_dir() or wrong.endswith(".zip"):
        return f"; for a set of images, write data.path={wrong}"
    if "/" in wrong:
        return f"; to train in that folder, write recipe=NAME run_dir={wrong}"
    close = nearest(wrong, available(), 0.7)
    return f"; did you mean recipe={close}?" if close else ""
