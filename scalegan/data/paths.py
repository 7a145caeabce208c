"""Paths of data as recipes give them."""

import os
import re

from scalegan.data.reading.cache import is_url
from scalegan.errors import RecipeError

VARIABLES = ("SCALEGAN_DATA", "HOME", "USER", "SCRATCH", "WORK", "PROJECT", "TMPDIR")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)


def expanded(path: str, key: str = "data.path") -> str:
    """The path given by `key` with ~ and the variables of VARIABLES expanded. Recipes may be someone else's,
    so no other variable is read; a URL is left unchanged, as it is sent to its server.

    Raises:
        RecipeError: for another variable, one that is not set, or one in a URL.
    """
    if is_url(path):
        if _VARIABLE.search(path):
            raise RecipeError(f"{key}={path}: a URL is sent to its server, so that variables in it are not expanded; "
                              "write it out, or let your shell expand it")
        return path
    for match in _VARIABLE.finditer(path):
        _check_variable(match, f"{key}={path}", key)
    whole, first = _VARIABLE.sub(_value, path), _VARIABLE.match(path)
    begins_so = first and is_url(_value(first)) and not _VARIABLE.search(path, first.end())   # SCALEGAN_DATA=s3://mine
    if is_url(whole) and not begins_so:
        raise RecipeError(f"{key}={path} becomes a URL, in which variables are not expanded; write it out")
    return os.path.expanduser(whole)


def _check_variable(match: re.Match[str], setting: str, key: str) -> None:
    allowed = _name(match) in VARIABLES
    others = f"as a path may only name {', '.join(f'${name}' for name in VARIABLES)}; write it out"
    if _name(match) not in os.environ:
        raise RecipeError(f"{setting}: {match[0]} is not set" + ("; export it, or set "
                          f"{key}=FOLDER" if allowed else f", and would not be expanded, {others}"))
    if not allowed:
        raise RecipeError(f"{setting}: {match[0]} is not expanded, {others}, or let your shell expand it")


def _name(match: re.Match[str]) -> str:
    return match[1] or match[2]


def _value(match: re.Match[str]) -> str:
    return os.environ[_name(match)]
