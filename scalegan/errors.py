"""Errors that a user can mend: shown as one line, without a stack trace."""


class UserError(Exception):
    """Something outside the code is wrong; the message names file, field and remedy."""

    exit_code = 1


class RecipeError(UserError):
    """The recipe is wrong: an unknown key, a wrong type or an impossible combination."""

    exit_code = 2
