"""The augmentation that a recipe names."""

from typing import TYPE_CHECKING

from scalegan.augment import Augment
from scalegan.augment.ada import Ada, Adaptive, Given
from scalegan.augment.diffaugment import DiffAugment
from scalegan.augment.instance_noise import InstanceNoise

if TYPE_CHECKING:
    from scalegan.config import Recipe


def augment_of(recipe: "Recipe") -> Augment:
    """The recipe's augmentation, followed by its instance noise."""
    noise = getattr(getattr(recipe.game, "tricks", None), "instance_noise", 0.0)
    return InstanceNoise(_chosen(recipe), noise) if noise else _chosen(recipe)


def _chosen(recipe: "Recipe") -> Augment:
    settings = recipe.augment
    if settings.name == "none":
        return Augment()
    if settings.name == "diffaugment":
        return DiffAugment(settings.policies)
    given = settings.target is None
    probability = Given(settings.p) if given else \
        Adaptive(settings.p, settings.target, recipe.batch_size / settings.adapt_images)
    return Ada(vars(settings.pipe), probability)
