"""Keys under `game` for CycleGAN."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from scalegan.config import requirements
from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class CycleGAN:
    """Two generators, A to B and back, whose composition is to change nothing (Zhu et al., 2017). Images of A are in
    data.path, those of B in streams.B.path; nothing pairs them."""

    name: Literal["cyclegan"] = "cyclegan"
    loss: Literal["least_squares", "non_saturating"] = "least_squares"
    """Adversarial loss on D's logits, a mean over patches."""
    cycle: NonNegativeFloat = 10.0
    """Weight of the mean absolute difference between an image and what both generators make of it; 0 for none."""
    identity: NonNegativeFloat = 0.0
    """Weight, relative to `cycle`, of the mean absolute difference between an image and its translation into the domain
    that it is already of; 0.5 for the paper's paintings, and in its PyTorch code."""
    pool: NonNegativeInt = 50
    """Past translations that each D sees among the new ones (Shrivastava et al., 2017); 0 for none."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G_A", "G_B", "D_A", "D_B"

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {"A": Own(), "B": Own()}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from requirements.image_to_image(recipe)
        yield from requirements.patches(recipe)
        if recipe.augment.name != "none":
            yield f"game.name={self.name} has no use for augmentation; set augment.name=none"
        if self.identity and not self.cycle:
            yield "game.identity is relative to game.cycle, which is 0; set game.cycle, or leave game.identity out"

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return requirements.norm_groups(recipe)
