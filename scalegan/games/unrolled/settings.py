"""Keys under `game` for the unrolled game."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from scalegan.config.schema import typed
from scalegan.games.gan.settings import GAN


@typed
class Unrolled(GAN):
    """G plays against D as it would respond (Metz et al., 2017)."""

    name: Literal["unrolled"] = "unrolled"
    steps: PositiveInt = 5
    """Number of D's steps that G looks ahead."""
    step_size: PositiveFloat = 0.1
    """Step size of these steps of plain gradient descent."""
