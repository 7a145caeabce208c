"""What several games require of a recipe; their settings' `problems` and `groups` use it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from scalegan.config.models import DCGAN, IMAGE_TO_IMAGE

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

_WITH_FEATURES = ("dcgan", "mlp")


def last_features(recipe: "Recipe") -> Iterator[str]:
    """The problem of a game that reads D's last features, with a family whose D does not expose them."""
    if recipe.model.name not in _WITH_FEATURES:
        yield (f"game.name={recipe.game.name} needs D's last features, which model.name={recipe.model.name} does not "
               f"expose; use {' or '.join(_WITH_FEATURES)}")


def own_networks(recipe: "Recipe") -> Iterator[str]:
    """The problem of a game whose networks are not those of `model`, with keys of `model`."""
    if recipe.model != DCGAN():
        yield f"game.name={recipe.game.name} has networks of its own; leave out model, their keys are under game"


def image_to_image(recipe: "Recipe") -> Iterator[str]:
    """Problems of a game that turns images into images, with other networks or data."""
    game, model = recipe.game.name, recipe.model.name
    if model not in IMAGE_TO_IMAGE:
        yield (f"game.name={game} turns images into images, for which model.name={model} is not made; set "
               f"model.name={' or '.join(IMAGE_TO_IMAGE)}")
    if model == "resnet_i2i" and min(recipe.data.sides) < 16:
        yield f"data.resolution={recipe.data.resolution} is too small for model.name=resnet_i2i; set 16 or more"
    yield from images(recipe)


def images(recipe: "Recipe") -> Iterator[str]:
    """Problems of a game that needs images, with a stream of points."""
    for key, found in {"data": recipe.data, **{f"streams.{name}": own for name, own in recipe.streams.items()}}.items():
        if found.backend == "points":
            yield (f"game.name={recipe.game.name} needs images, but {key}.backend=points has 2-D points; set another "
                   "backend")


def two_sets_of_images(recipe: "Recipe", second: str) -> Iterator[str]:
    """Problems of a game that turns images of data.path into those of another stream, which has no labels."""
    game = recipe.game.name
    yield from images(recipe)
    if recipe.streams[second].labels != "none":
        yield f"game.name={game} has no use for labels of {second} images; set streams.{second}.labels=none"
    if recipe.augment.name != "none":
        yield f"game.name={game} has no use for augmentation; set augment.name=none"


def norm_groups(recipe: "Recipe") -> Mapping[str, int]:
    """The group of samples over which networks from image to image normalise, by key; none if it is the batch."""
    group = recipe.model.norm_group if getattr(recipe.model, "norm", "") == "batch" else 1
    return {} if group == "batch" else {"model.norm_group": group}
