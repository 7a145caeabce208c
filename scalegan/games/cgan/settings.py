"""Keys under `game` for CGAN."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from scalegan.config.models import DCGAN
from scalegan.config.schema import Dropout, typed
from scalegan.games.gan.settings import GAN

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class CGAN(GAN):
    """The two-player game with labels, on the fully connected networks of Mirza & Osindero (2014). On the networks of
    `model`, that is game.name=gan with data.labels=class."""

    of_family: ClassVar[bool] = False
    with_latents: ClassVar[bool] = False
    name: Literal["cgan"] = "cgan"
    dropout: Dropout = 0.5
    """Probability that a hidden unit of G or D is dropped, by keyed draws."""

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        yield from super().problems(recipe)
        if recipe.data.labels in ("none", "vectors"):
            yield "game.name=cgan needs classes or attributes; set data.labels=class or data.labels=attributes"
        if recipe.model != DCGAN():
            yield "game.name=cgan has networks of its own; leave out the keys of model, or use game.name=gan"
        if recipe.engine.compile:
            yield "game.name=cgan has dropout with keyed masks, which cannot be compiled; set engine.compile=false"
