"""The table of games. A line in `GAMES` is all that registers a game; its folder holds its keys (`settings.py`, a
dataclass whose `name` is the folder's) and its players and phases (`game.py`, a `Game`).
"""

from dataclasses import is_dataclass
from importlib import import_module
from typing import Annotated, Any, Union

from pydantic import BeforeValidator, Field

GAMES = (
    "gan",
    "unrolled",
    "infogan",
    "aae",
    "avb",
    "acgan",
    "iterative",
    "bigan",
    "ali",
    "cgan",
    "ssgan",
    "pix2pix",
    "colorization",
    "cyclegan",
    "srgan",
    "simgan",
    "pixelda",
    "stargan",
    "lapgan",
    "cogan",
    "madgan",
    "consensus",
    "gan3d",
    "text_to_image",
    "adversarial_flow",
)


def settings_of(name: str) -> type:
    """The dataclass of a game's keys; does not import torch."""
    return own_class(import_module(f"scalegan.games.{name}.settings"), is_dataclass)


def own_class(module: Any, fits: Any) -> type:
    """The last of the module's own classes that satisfies `fits`."""
    found = [kind for kind in vars(module).values()
             if isinstance(kind, type) and kind.__module__ == module.__name__ and fits(kind)]
    return found[-1]


def _named(value: Any) -> Any:
    return {"name": "gan", **value} if isinstance(value, dict) else value


_SETTINGS = tuple(settings_of(name) for name in GAMES)
Game = Annotated[Union[_SETTINGS], Field(discriminator="name"), BeforeValidator(_named)]  # noqa: UP007 -- from a tuple
