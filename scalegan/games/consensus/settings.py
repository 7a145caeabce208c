"""Keys under `game` for consensus optimisation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat

from scalegan.config import requirements
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class Consensus:
    """G and D step together, and both also lower the norm of their joint gradient (Mescheder et al., 2017)."""

    of_family: ClassVar[bool] = True
    name: Literal["consensus"] = "consensus"
    loss: Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein", "f_kl", "f_reverse_kl", "f_js",
                  "f_hellinger", "f_pearson"] = "non_saturating"
    """Adversarial loss on logits, as of game gan. wasserstein is the published code's `indicator`, minimax its `JS`."""
    gamma: NonNegativeFloat = 10.0
    """Weight of half the squared norm of the joint gradient; 0 gives simultaneous gradient descent."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        if recipe.model.name not in ("dcgan", "mlp"):
            yield (f"game.name=consensus has been tried with dcgan and mlp alone, not with "
                   f"model.name={recipe.model.name}; use one of them")
        yield from requirements.sign_of_reals(recipe)
        if recipe.engine.compile:
            yield ("game.name=consensus differentiates both networks twice, and compiled ones only once; set "
                   "engine.compile=false")
