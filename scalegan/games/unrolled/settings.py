"""Keys under `game` of the unrolled game."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from scalegan.config.schema import typed
from scalegan.games.gan.settings import GAN


@typed
class Unrolled(GAN):
    """G plays against the D that would answer it (Metz et al., 2017)."""

    name: Literal["unrolled"] = "unrolled"
    steps: PositiveInt = 5
    """Steps of D that G looks ahead."""
    step_size: PositiveFloat = 0.1
    """Their size: plain gradient descent."""
