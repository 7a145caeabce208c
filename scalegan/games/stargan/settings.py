"""Keys under `game` for StarGAN."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.models import BY_LABELS
from scalegan.config.schema import Text, typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class StarGAN:
    """One generator between all domains: it gives an image the attributes, or the class, that it is told (Choi et al.,
    2018)."""

    name: Literal["stargan"] = "stargan"
    attributes: tuple[Text, ...] = ()
    """The attributes to learn, by name, of those that the data has; all of them by default."""
    reconstruction: NonNegativeFloat = 10.0
    """Weight of the mean absolute difference between an image and its translation back to its own labels."""
    class_weight: NonNegativeFloat = 1.0
    """Weight of D's classification, of reals in D's loss and of translations in G's: the cross-entropy, for attributes
    summed over them."""
    gradient_penalty: NonNegativeFloat = 10.0
    """Weight of the gradient penalty of WGAN-GP."""
    critic_updates: PositiveInt = 5
    """Updates of D per update of G, each with a batch of its own; G shares the last one."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        data, name = recipe.data, self.name
        if recipe.model.name not in BY_LABELS:
            yield f"game.name={name} gives images other labels; set model.name={' or '.join(BY_LABELS)}"
        yield from requirements.images(recipe)
        if data.labels in ("none", "vectors"):
            yield f"game.name={name} needs classes or attributes; set data.labels=attributes or data.labels=class"
        if self.attributes and data.labels == "class":
            yield "game.attributes chooses among attributes, and data.labels=class has none; leave it out"
        if twice := [one for one in self.attributes if self.attributes.count(one) > 1]:
            yield f"game.attributes names {twice[0]} twice; name it once"
        if recipe.augment.name != "none":
            yield f"game.name={name} has no use for augmentation; set augment.name=none"
