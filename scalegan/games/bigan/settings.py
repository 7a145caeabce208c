"""Keys under `game` for BiGAN."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class BiGAN:
    """An encoder beside the generator; D tells (x, E(x)) from (G(z), z) (Donahue et al., 2017)."""

    name: Literal["bigan"] = "bigan"
    latent_dim: PositiveInt = 50
    """Length of z."""
    latent: Literal["normal", "uniform"] = "uniform"
    """Distribution of z: N(0, 1), or uniform in [-1, 1] as in the paper, which also bounds the encoder's output."""
    hidden: PositiveInt = 1024
    """Units in every hidden layer of the fully connected networks."""
    encoder: Literal["deterministic", "stochastic"] = "deterministic"
    """deterministic: z = E(x). stochastic: z is drawn from N(mu(x), sigma(x)^2), as in ALI."""
    norm_group: PositiveInt = 32
    """Consecutive samples of the global batch that share BatchNorm statistics."""
    half_loss: bool = False
    """Halve the adversarial losses, as the published code does; with Adam, this matters only beside other terms."""
    cycle: NonNegativeFloat = 0.0
    """ALICE: weight of the distance between x and G(E(x)), which E and G minimise (Li et al., 2017); 0 for none."""
    cycle_distance: Literal["l2", "l1"] = "l2"
    """l2: mean squared difference. l1: mean absolute difference, as in the published code for CIFAR-10."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "E", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        if recipe.data.labels != "none":
            yield f"game.name={self.name} learns without labels; set data.labels=none"
        if recipe.augment.name != "none":
            yield (f"game.name={self.name} has no use for augmentation: D sees images together with their codes; set "
                   "augment.name=none")
        if self.cycle_distance != "l2" and not self.cycle:
            yield "game.cycle_distance has no effect with game.cycle=0; set game.cycle, or leave it out"
        yield from requirements.own_networks(recipe)

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return {"game.norm_group": self.norm_group}
