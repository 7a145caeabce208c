"""What several games require of a recipe; their settings' `problems` and `groups` use it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from scalegan.config.models import DCGAN, IMAGE_TO_IMAGE

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe

_WITH_FEATURES = ("dcgan", "mlp")
_WITHOUT_SIGN = ("relativistic", "wasserstein", "wasserstein_clip", "wgan_gp", "ebgan", "ebgan_pt")
_LEAST_FEATURES = 3     # a side, for the two convolutions of a discriminator of patches that are not strided
# Losses whose D gives 1, not 0, what is as likely real as fake: the derivative of r ln r at r = 1.
_AROUND_ONE = ("f_kl", "b_kl")


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


def patches(recipe: "Recipe") -> Iterator[str]:
    """The problem of a discriminator of patches that halves images until nothing is left for its last layers."""
    model, side = recipe.model, min(recipe.data.sides)
    for _ in range(getattr(model, "d_scales", 1) - 1):
        side = (side + 1) // 2
    if getattr(model, "d_layers", None) and side >> model.d_layers < _LEAST_FEATURES:
        yield (f"model.d_layers={model.d_layers} and model.d_scales={model.d_scales} leave data.resolution="
               f"{recipe.data.resolution} less than {_LEAST_FEATURES} x {_LEAST_FEATURES} features for D's last "
               "layers; set fewer")


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


def sign_of_reals(recipe: "Recipe", centred: bool = False) -> Iterator[str]:
    """The problem of ADA that adapts by the sign of D on reals, with a loss for which that says nothing: D then is not
    0 where it cannot tell reals from fakes, so that p would rise whether D overfits or not.

    Args:
        centred: least_squares: whether the targets of reals and fakes are opposite numbers.
    """
    augment, loss = recipe.augment, recipe.game.loss
    if augment.name != "ada" or augment.target is None:
        return
    remedy = "set augment.target=null and augment.p"
    if loss in _WITHOUT_SIGN:
        yield f"augment.target tracks the sign of D on reals, which means nothing with game.loss={loss}; {remedy}"
    elif loss in _AROUND_ONE or (loss == "least_squares" and not centred):
        yield (f"augment.target tracks the sign of D on reals, and with game.loss={loss} D is above 0 even where it "
               f"cannot tell them from fakes; {remedy}"
               + (", or game.a=-1 and game.b=1" if hasattr(recipe.game, "a") and loss == "least_squares" else ""))


def norm_groups(recipe: "Recipe") -> Mapping[str, int]:
    """The group of samples over which networks from image to image normalise, by key; none if it is the batch."""
    group = recipe.model.norm_group if getattr(recipe.model, "norm", "") == "batch" else 1
    return {} if group == "batch" else {"model.norm_group": group}
