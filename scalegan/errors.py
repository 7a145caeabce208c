"""Errors that a user can fix, shown as one line without a traceback."""


class UserError(Exception):
    """Something outside the code is wrong; the message names file, field and remedy."""

    exit_code = 1
    #: Whether all ranks raise it alike, so that only rank 0 need report it.
    shared = False


class SharedError(UserError):
    """A UserError that all ranks have agreed on."""

    shared = True

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UsageError(UserError):
    """The command line is wrong: an option that does not fit the model or the data, or a suffix that is not written."""

    exit_code = 2
    shared = True

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class LostRank(UserError):
    """Another rank is gone; this one is not at fault."""


class Diverged(UserError):
    """Training diverged and cannot be rolled back any further."""

    exit_code = 3
    shared = True


class RecipeError(UserError):
    """The recipe is wrong: an unknown key, a wrong type or an impossible combination."""

    exit_code = 2
    shared = True

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text with control characters, such as a newline in a value that it quotes, written as their escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
