"""Figures, as they stand in files that may be damaged."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

_LARGEST = 1e100


def is_figure(value: Any) -> bool:
    """Whether a value is a number, NaN and infinities included."""
    return type(value) in (int, float)


def can_be_drawn(value: Any) -> bool:
    """Whether a value is a number that a chart has a place for."""
    return is_figure(value) and -_LARGEST < value < _LARGEST


def all_can_be_drawn(values: Sequence[Any]) -> bool:
    """The same of several values at once; False may also mean that their sum is too large."""
    return set(map(type, values)) <= {int, float} and min(values) > -_LARGEST and max(values) < _LARGEST \
        and isfinite(sum(values))


def flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The figures in a tree that can be drawn, by dotted keys."""
    flat: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{key}.")
        elif can_be_drawn(value):
            flat[f"{prefix}{key}"] = value
    return flat
