"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that is most similar to `name`, or None if none is similar."""
    return next(iter(difflib.get_close_matches(name, [v for v in valid if v], 1, 0.5)), None)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'x'?", or an empty string."""
    close = nearest(name, valid)
    return f"; did you mean '{close}'?" if close else ""
