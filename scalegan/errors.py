"""Errors that a user can mend: shown as one line, without a stack trace."""


class UserError(Exception):
    """Something outside the code is wrong; the message names file, field and remedy."""

    exit_code = 1
    #: Raised on all ranks alike, so that rank 0 can speak for all.
    shared = False


class SharedError(UserError):
    """A UserError that all ranks have agreed upon."""

    shared = True

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LostRank(UserError):
    """Another rank has gone; this one is not to blame."""


class Diverged(UserError):
    """Training diverged, and there is nothing left to try without the user."""

    exit_code = 3
    shared = True


class RecipeError(UserError):
    """The recipe is wrong: an unknown key, a wrong type or an impossible combination."""

    exit_code = 2
    shared = True
