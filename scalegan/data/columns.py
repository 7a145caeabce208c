"""Columns of a table as conditions: classes, attributes and real numbers, side by side in one vector."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalegan.support.names import did_you_mean

MOST_VALUES = 1000      # of a class column
_MISSING = ("na", "n/a", "null", "none", "?", "-")      # what tables have for a number that is unknown
Description = dict[str, Any]


class Columns:
    """Rows of a table, written as "age=40, kind=cat", to vectors: numbers standardised, attributes as 0 or 1, classes
    as one-hot parts.

    Args:
        columns: in order: {"name", "kind": "number", "mean", "deviation"}, {"name", "kind": "attribute"} or
            {"name", "kind": "class", "values": names in order}.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        self.columns = [dict(column) for column in columns]
        self.dim = sum(map(_width, self.columns))
        self.description: Description = {"kind": "columns", "columns": self.columns}

    @classmethod
    def fitted(cls, names: Sequence[str], rows: Sequence[Sequence[str]]) -> "Columns":
        """Columns of numbers, of 0 and 1 alone, and of anything else, which are classes.

        Raises:
            ValueError: for a number that is not finite, or a column that says nothing or has too many classes.
        """
        return cls([_fitted(name, [row[place] for row in rows]) for place, name in enumerate(names)])

    def vectors(self, rows: Sequence[Sequence[str]]) -> np.ndarray:
        """Vectors, float32 [n, dim], of rows with a value for each column."""
        parts = [_encoded(column, [row[place] for row in rows]) for place, column in enumerate(self.columns)]
        return np.concatenate(parts, 1).astype(np.float32)

    def text(self, row: Sequence[str]) -> str:
        """A row as `encode` takes it."""
        return ", ".join(f"{column['name']}={value}" for column, value in zip(self.columns, row))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, float32 [n, dim]. Numbers that a text does not name are at their mean, attributes 0.

        Raises:
            ValueError: for a text that is not of that form, names no such column or value, or leaves a class out.
        """
        return self.vectors([self._row(text) for text in texts])

    def _row(self, text: str) -> list[str]:
        known, given = [column["name"] for column in self.columns], {}
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                raise ValueError(f"'{part.strip()}' is not NAME=VALUE; the data has {_listed(known)}")
            if name not in known:
                raise ValueError(f"the data has no '{name}'{did_you_mean(name, known)}; it has {_listed(known)}")
            if name in given:
                raise ValueError(f"'{name}' is there twice")
            given[name] = value
        return [_value(column, given.get(column["name"])) for column in self.columns]


def _width(column: Mapping[str, Any]) -> int:
    return len(column["values"]) if column["kind"] == "class" else 1


def _fitted(name: str, values: Sequence[str]) -> dict[str, Any]:
    found = sorted(set(values))
    numbers = [_number(value) for value in values]
    if len(found) == 1 or (len(set(numbers)) == 1 and None not in numbers):     # 5 and 5.0 are one number
        raise ValueError(f"column '{name}' is {found[0]} for all images and says nothing; remove it")
    if set(numbers) <= {0.0, 1.0}:
        return {"name": name, "kind": "attribute"}
    if None not in numbers:
        array = np.array(numbers)
        if not np.isfinite(array).all():
            raise ValueError(f"column '{name}' has {values[int(np.flatnonzero(~np.isfinite(array))[0])]}; give every "
                             "image a finite number")
        with np.errstate(over="ignore"):
            mean, deviation = float(array.mean()), float(array.std())
        if not 0 < deviation < np.inf:
            raise ValueError(f"column '{name}' has numbers too large or too close to be standardised; scale them first")
        return {"name": name, "kind": "number", "mean": mean, "deviation": deviation}
    missing = [value for value, number in zip(values, numbers) if number is None and value.lower() in _MISSING]
    if missing and len(missing) == numbers.count(None) < len(numbers):
        raise ValueError(f"column '{name}' has {missing[0]} among its numbers; give every image a finite number, or "
                         "another name to that class")
    if len(found) > MOST_VALUES or (len(found) > len(values) / 2 and len(values) > 20):
        raise ValueError(f"column '{name}' has {len(found):,} different texts, such as '{found[0]}'; numbers must be "
                         "numbers, and texts are classes that many images share")
    return {"name": name, "kind": "class", "values": found}


def _encoded(column: Mapping[str, Any], values: Sequence[str]) -> np.ndarray:
    if column["kind"] == "class":
        places = {value: place for place, value in enumerate(column["values"])}
        return np.eye(len(places))[[places[value] for value in values]]
    numbers = np.array([float(value) for value in values])[:, None]
    return numbers if column["kind"] == "attribute" else (numbers - column["mean"]) / column["deviation"]


def _value(column: Mapping[str, Any], given: str | None) -> str:
    name, kind = column["name"], column["kind"]
    if kind == "class":
        values = column["values"]
        if given is None:
            raise ValueError(f"'{name}' is missing; write {name}= and one of {_listed(values)}")
        if given not in values:
            raise ValueError(f"{name}={given}: the data has no such value{did_you_mean(given, values)}; it has "
                             f"{_listed(values)}")
        return given
    if given is None:
        return "0" if kind == "attribute" else str(column["mean"])
    number = _number(given)
    if number is None or not np.isfinite(number) or (kind == "attribute" and not 0 <= number <= 1):
        wanted = "a number from 0 to 1" if kind == "attribute" else "a finite number"
        raise ValueError(f"{name}={given} is not {wanted}")
    return given


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8)
