"""Every key of a schema with its default and its meaning, which is the docstring under the field."""

import ast
import inspect
import json
import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from textwrap import wrap
from typing import Any

from scalegan.config import Recipe, Schedule

Row = tuple[str, str, str]      # key, default, meaning


def describe_keys(schema: Any = Recipe, prefix: str = "", schedules: bool = True) -> list[Row]:
    """(key, default, meaning) of every key, groups included; with or without the keys of schedules."""
    rows: list[Row] = []
    meanings = meanings_of(schema)
    for field in fields(schema):
        meaning, members = meanings.get(field.name, ""), members_of(field)
        found = []
        if not members or meaning:
            default = _default(field)
            if Schedule in members and not schedules:
                default += "; may be a schedule" if default else ""
            found.append((prefix + field.name, default if len(default) < 40 else "", meaning))
        for member in members:
            if schedules or member is not Schedule:
                found += describe_keys(member, f"{prefix}{field.name}.{chosen_name(field)}", schedules)
        rows += [row for row in dict.fromkeys(found) if row not in rows]
    return rows


def meanings_of(schema: Any) -> dict[str, str]:
    """The docstring under each field, inherited ones included."""
    return {name: text for base in reversed(schema.__mro__[:-1]) for name, text in _docstrings(base).items()}


def members_of(field: Field) -> list[Any]:
    """The settings classes that a field takes: none for a plain value, several if `name` selects one of them."""
    return _dataclasses_in(field.type)


def chosen_name(field: Field) -> str:
    """What stands in a key for a name that the user chooses: optimizer.PLAYER.lr, emas.NAME.ramp_up."""
    if getattr(field.type, "__origin__", None) is not dict:
        return ""
    return "PLAYER." if field.name == "optimizer" else "NAME."


def help_text(usage: str, description: str, rows: list[Row]) -> str:
    """The help of a command that takes keys."""
    return "\n".join([f"usage: scalegan {usage}", "", description.strip(), "", "Keys:",
                      *lines_of(rows)])


def lines_of(rows: list[Row]) -> list[str]:
    """A line for each key, and one for its meaning."""
    lines = []
    for key, default, meaning in rows:
        lines.append(f"  {key}" + (f" (default {default})" if default else ""))
        lines += wrap(" ".join(meaning.split()), 112, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


def _default(field: Field) -> str:
    """The default, as it would be written in YAML."""
    if field.default_factory is not MISSING:
        return str(field.default_factory())
    if field.default is MISSING:
        return ""
    return field.default if isinstance(field.default, str) else json.dumps(field.default)


def _dataclasses_in(annotation: Any) -> list[Any]:
    if is_dataclass(annotation):
        return [annotation]
    return [a for part in getattr(annotation, "__args__", ()) for a in _dataclasses_in(part)]


def _docstrings(kind: type) -> dict[str, str]:
    return _of_module(kind.__module__).get(kind.__name__, {})


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """The docstrings under the fields of all of a module's classes, from one parse of its source."""
    classes = [node for node in ast.parse(inspect.getsource(sys.modules[name])).body if isinstance(node, ast.ClassDef)]
    return {kind.name: {field.target.id: inspect.cleandoc(text.value.value)
                        for field, text in zip(kind.body, kind.body[1:])
                        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
                        and isinstance(text.value, ast.Constant)} for kind in classes}
