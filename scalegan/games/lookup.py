"""Looks up a game's class by the name of its folder."""

from importlib import import_module

from scalegan.games.base import Game
from scalegan.games.table import own_class


def game_of(name: str) -> type[Game]:
    """The `Game` that `scalegan.games.<name>.game` defines."""
    return own_class(import_module(f"scalegan.games.{name}.game"), lambda kind: issubclass(kind, Game))
