"""`scalegan train --help [TOPIC]`: the groups of a recipe's keys, or the keys of one group, family or game."""

import json
from dataclasses import MISSING, Field, fields
from textwrap import wrap
from typing import Any

from scalegan.config import Recipe, Schedule
from scalegan.config.help import chosen_name, describe_keys, lines_of, meanings_of, members_of
from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean


def overview() -> str:
    """The top-level keys that are not groups, and a line for each group."""
    meanings, alone, groups = meanings_of(Recipe), [], []
    for field in fields(Recipe):
        if not members_of(field):
            default = "" if field.default is MISSING else json.dumps(field.default).replace('"', "")
            alone += _entry(field.name, meanings[field.name], default)
            continue
        names = list(_choices(field))
        groups += _entry(field.name, meanings[field.name])
        if len(names) > 1:
            groups += wrap(f"{field.name}.name: {', '.join(names)}", 119, initial_indent=" " * 27,
                           subsequent_indent=" " * (29 + len(f"{field.name}.name")))
    return "\n".join(["Keys of every recipe:", *alone, "", "Groups of keys:", *groups, "",
                      "More: --help GROUP (`scalegan train --help data`), GROUP=NAME (`--help model=stylegan2`),"
                      "\n--help schedule (values that change during training), --help all (every key)."])


def _entry(name: str, meaning: str, default: str = "") -> list[str]:
    """A name, and its meaning and default, wrapped beside it."""
    text = " ".join(meaning.split())
    if default:
        text = f"{text.removesuffix('.')} (default\0{default})."
    lines = wrap(text, 119, initial_indent=f"  {name:<24} ", subsequent_indent=" " * 27)
    return [line.replace("\0", " ") for line in lines]


def page(topic: str) -> str:
    """The keys of a topic: `all`, a group (`game`), a choice in it (`model=stylegan2`), or the beginning of a key.

    Raises:
        RecipeError: for a topic that names no key.
    """
    if topic == "all":
        return "\n".join(["Every key:", *lines_of(describe_keys())])
    if topic == "schedule":
        return "\n".join([_about(Schedule), "", *lines_of(describe_keys(Schedule, "KEY."))])
    name, _, choice = topic.replace(".name=", "=").partition("=")
    field = next((field for field in fields(Recipe) if field.name == name), None)
    if field is None or not members_of(field):
        return _matching(topic)
    choices = _choices(field)
    if choice and choice not in choices:
        raise RecipeError(f"--help {topic}: {name} is one of {', '.join(choices)}{did_you_mean(choice, choices)}")
    lines = [meanings_of(Recipe)[name]]
    for tag, member in choices.items():
        if choice in ("", tag):
            lines += ["", f"{name}.name={tag}: {_about(member)}"] if len(choices) > 1 else [""]
            lines += lines_of([row for row in describe_keys(member, f"{name}.{chosen_name(field)}", schedules=False)
                               if row[0] != f"{name}.name" or len(choices) == 1])
    return "\n".join(lines)


def _matching(topic: str) -> str:
    rows = describe_keys()
    found = [row for row in rows if row[0] == topic or row[0].startswith(f"{topic}.")]
    if not found:
        names = [*(field.name for field in fields(Recipe)), *(key for key, _, _ in rows)]
        raise RecipeError(f"--help {topic}: no such key or group{did_you_mean(topic, names)}; `scalegan train --help` "
                          "lists the groups")
    return "\n".join(lines_of(found))


def _choices(field: Field) -> dict[str, Any]:
    """The settings classes of a field by the `name` that selects each."""
    members = members_of(field)
    if len(members) == 1:
        return {field.name: members[0]}
    return {next(f.default for f in fields(member) if f.name == "name"): member for member in members}


def _about(member: Any) -> str:
    text = member.__doc__ or ""
    return "" if text.startswith(f"{member.__name__}(") else " ".join(text.split("\n\n")[0].split())
