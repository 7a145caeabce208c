"""The table of games: all that a recipe needs to know of one."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from scalegan.games.gan.settings import GAN
from scalegan.games.unrolled.settings import Unrolled


def _named(value: Any) -> Any:
    return {"name": "gan", **value} if isinstance(value, dict) else value


Game = Annotated[GAN | Unrolled, Field(discriminator="name"), BeforeValidator(_named)]
