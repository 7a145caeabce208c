"""Every key of a schema with its default and its meaning, which is the docstring under the field."""

import ast
import inspect
import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any

from scalegan.config import Recipe


def describe_keys(schema: Any = Recipe, prefix: str = "") -> list[tuple[str, str, str]]:
    """(key, default, meaning) of every key, for `--help`."""
    rows: list[tuple[str, str, str]] = []
    _describe(schema, prefix, rows)
    return rows


def help_text(usage: str, description: str, keys: list[tuple[str, str, str]]) -> str:
    """The help of a verb that takes recipe keys."""
    lines = [f"scalegan {usage}", "", description.strip(), "", "Keys (defaults in brackets):"]
    for key, default, meaning in keys:
        lines.append(f"  {key}" + (f" [{default}]" if default else ""))
        lines += [f"      {' '.join(meaning.split())}"] if meaning else []
    return "\n".join(lines)


def _describe(kind: Any, prefix: str, rows: list[tuple[str, str, str]]) -> None:
    meanings = {name: text for base in reversed(kind.__mro__[:-1]) for name, text in _docstrings(base).items()}
    for field in fields(kind):
        meaning, members = meanings.get(field.name, ""), _dataclasses_in(field.type)
        of_player = ("PLAYER." if field.name == "optimizer" else "NAME.") \
            if getattr(field.type, "__origin__", None) is dict else ""
        for member in members:
            _describe(member, f"{prefix}{field.name}.{of_player}", rows)
        if not members or meaning:
            default = _default(field)
            row = (prefix + field.name, default if len(default) < 40 else "", meaning)
            if row not in rows:
                rows.append(row)


def _default(field: Field) -> str:
    if field.default_factory is not MISSING:
        return str(field.default_factory())
    return "" if field.default is MISSING else str(field.default)


def _dataclasses_in(annotation: Any) -> list[Any]:
    if is_dataclass(annotation):
        return [annotation]
    return [a for part in getattr(annotation, "__args__", ()) for a in _dataclasses_in(part)]


def _docstrings(kind: type) -> dict[str, str]:
    """The string under each field of a class."""
    return _of_module(kind.__module__).get(kind.__name__, {})


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """Those of all its classes, from one look at the source."""
    classes = [node for node in ast.parse(inspect.getsource(sys.modules[name])).body if isinstance(node, ast.ClassDef)]
    return {kind.name: {field.target.id: inspect.cleandoc(text.value.value)
                        for field, text in zip(kind.body, kind.body[1:])
                        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
                        and isinstance(text.value, ast.Constant)} for kind in classes}
