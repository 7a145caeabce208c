"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str], likeness: float = 0.5) -> str | None:
    """The valid name most like `name`, if any is at least that like it (difflib's ratio, from 0 to 1)."""
    return next(iter(difflib.get_close_matches(name, [v for v in valid if v], 1, likeness)), None)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'x'?", or an empty string."""
    close = nearest(name, valid)
    return f"; did you mean '{close}'?" if close else ""
