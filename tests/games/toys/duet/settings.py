"""Keys under `game` of the toy."""

from collections.abc import Mapping
from typing import Literal

from pydantic import NonNegativeInt

from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own, PairedWith


@typed
class Duet:
    """Images of A are translated to B; an encoder reads what came out."""

    name: Literal["duet"] = "duet"
    paired: bool = False
    """Whether B belongs to A."""
    pool: NonNegativeInt = 24
    """Places for past fakes."""
    warm_up: NonNegativeInt = 64
    """Images of pre-training."""
    poison: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)
    """Images between which D's loss is not finite."""

    def players(self, recipe: object) -> tuple[str, ...]:
        return "A_to_B", "E", "D"

    def streams(self, recipe: object) -> Mapping[str, Link]:
        return {"A": Own(), "B": PairedWith("A") if self.paired else Own()}
