"""What is wrong with a recipe, as its writer would say it."""

from typing import Any

from pydantic import ValidationError

from scalegan.config.help import describe_keys
from scalegan.support.names import did_you_mean, nearest

_FEW = 3        # keys of the same name, above which naming them all helps nobody


def explain(error: ValidationError, tree: dict[str, Any]) -> tuple[str, str]:
    """The first thing that is wrong, unknown keys before all: its key, and a message as a user would say it."""
    def urgency(e: Any) -> tuple[bool, bool]:  # of a schedule, what is wrong inside, not that it is no number
        return e["type"] != "unexpected_keyword_argument", e["type"].endswith("_type") and isinstance(e["input"], dict)
    first = min(error.errors(), key=urgency)
    loc = [str(part) for part in first["loc"]]
    key = _shown(loc, tree) + (".name" if first["type"].startswith("union_tag") else "")
    return key, _message(error, first, loc, tree)


def _message(error: ValidationError, first: Any, loc: list[str], tree: dict[str, Any]) -> str:
    if first["type"] == "unexpected_keyword_argument":
        shown = _shown(loc, tree)
        member = loc[1] if len(loc) > 1 else "G"
        named = loc[0] in ("optimizer", "emas", "streams")
        keys = [key for key, _, _ in describe_keys()]
        if named:
            keys = [key.replace("PLAYER", member).replace("NAME", member) for key in keys]
        if shown in keys:       # of another game, model or augmentation
            name = (tree.get(loc[0]) or {}).get("name")
            return f"unknown key '{shown}': " + (f"{loc[0]}.name={name} has no such key" if name else
                                                 f"it belongs to another {loc[0]}.name, which is not given")
        close = " or ".join(f"'{key}'" for key in _closest(shown, keys))
        return f"unknown key '{shown}'" + (f"; did you mean {close}?" if close else
                                           "; `scalegan train --help` lists the groups of keys")
    if first["type"] == "missing_keyword_only_argument" or first["type"] == "missing":
        return f"'{_shown(loc, tree)}' is not given"
    if first["type"] == "dataclass_type":
        key, value = _shown(loc, tree), first["input"]
        if loc[0] == "optimizer":
            return f"{key}={value}: name the player, optimizer.G.{loc[-1]}, or optimizer.default.{loc[-1]} for those " \
                   "not named"
        return f"{key}={value}: {key} is a group of keys; see `scalegan train --help {loc[0]}`"
    if first["type"] == "union_tag_not_found":
        return f"'{_shown(loc, tree)}.name' is not given"
    given = first["input"]
    if isinstance(given, str) and "," in given and any(e["type"] == "tuple_type" and e["input"] == given
                                                       for e in error.errors()):
        key = _shown(loc, tree)
        return f"{key}={given}: a list stands in brackets; write {key}=[{given}]"
    message = first["msg"].replace("Input should be", "should be").removeprefix("Value error, ").split(", unable")[0]
    expected = (first.get("ctx") or {}).get("expected_tags") or (first.get("ctx") or {}).get("expected") or ""
    choices = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    value = first["input"]
    if first["type"] == "union_tag_invalid":
        value, message = value.get("name"), f"should be one of {expected}"
        loc = [*loc, "name"]
    return f"{_shown(loc, tree)}={value}: {message}{did_you_mean(str(value), choices)}"


def _closest(key: str, keys: list[str]) -> list[str]:
    """The keys most likely meant: the same name in other groups, a sibling, or a near miss of the whole."""
    parent, dot, leaf = key.rpartition(".")
    elsewhere = [k for k in keys if k.rpartition(".")[2] == leaf and not k.startswith(("emas.", "streams."))]
    if 0 < len(elsewhere) <= _FEW:
        return elsewhere
    siblings = {k[len(parent + dot):].split(".")[0] for k in keys if k.startswith(parent + dot)}
    close = nearest(leaf, siblings, 0.6)
    found = parent + dot + close if close else nearest(key, keys, 0.8)
    return [found] if found else []


def _shown(loc: list[str], tree: Any) -> str:
    """The key as typed: pydantic puts the tag of a union and the names of its branches into the path."""
    kept = []
    for index, part in enumerate(loc):
        inside = isinstance(tree, dict) and part in tree
        if inside or (index == len(loc) - 1 and part.isidentifier() and part not in ("float", "int")):
            kept.append(part)
        if inside:
            tree = tree[part]
        if not isinstance(tree, dict):
            break
    return ".".join(kept)
