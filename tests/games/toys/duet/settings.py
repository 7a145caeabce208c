"""Keys under `game` for the toy."""

from collections.abc import Mapping
from typing import Literal

from pydantic import NonNegativeInt

from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own, PairedWith


@typed
class Duet:
    """Translates images of A to B; an encoder reads the result."""

    name: Literal["duet"] = "duet"
    paired: bool = False
    """Whether B is paired with A."""
    pool: NonNegativeInt = 24
    """Size of the pool of past fakes."""
    warm_up: NonNegativeInt = 64
    """Length of pre-training in images."""
    poison: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)
    """Images between which D's loss is not finite."""

    def players(self, recipe: object) -> tuple[str, ...]:
        return "A_to_B", "E", "D"

    def streams(self, recipe: object) -> Mapping[str, Link]:
        return {"A": Own(), "B": PairedWith("A") if self.paired else Own()}
