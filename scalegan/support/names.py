"""What somebody may have meant by a name that does not exist."""

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that is most like `name`, where one is like it at all."""
    return next(iter(difflib.get_close_matches(name, [v for v in valid if v], 1, 0.5)), None)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of an error's line: "; did you mean 'x'?", or nothing."""
    close = nearest(name, valid)
    return f"; did you mean '{close}'?" if close else ""
