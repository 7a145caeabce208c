"""Keys under `game` for AC-GAN."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat

from scalegan.config import requirements
from scalegan.config.models import DCGAN
from scalegan.config.schema import typed

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


_OF_PAPER = ("latent_dim", "latent", "norm_group")     # keys of model that networks=paper has


@typed
class ACGAN:
    """A conditional generator against a discriminator that also classifies (Odena, Olah & Shlens, 2017)."""

    of_family: ClassVar[bool] = True
    name: Literal["acgan"] = "acgan"
    loss: Literal["non_saturating", "minimax"] = "non_saturating"
    """G's adversarial loss: non_saturating, as in all public code; or minimax, -L_S as the paper prints it."""
    class_weight: NonNegativeFloat = 1.0
    """Weight of L_C, the log-likelihood of the labels, beside L_S; 1 in the paper. For attributes, L_C is a sum over
    all of them."""
    fakes_weight: NonNegativeFloat = 1.0
    """Weight, within L_C, of fakes in D's loss; 1 in the paper. 0 trains the classifier on reals alone."""
    networks: Literal["family", "paper"] = "family"
    """family: those of `model`, dcgan or mlp. paper: those of its appendix for CIFAR-10, 32 px and classes only, of
    which model.latent_dim, model.latent and model.norm_group are keys."""

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        data, model = recipe.data, recipe.model
        if data.labels in ("none", "vectors"):
            yield "game.name=acgan needs classes or attributes; set data.labels=class or data.labels=attributes"
        yield from requirements.last_features(recipe)
        if model.name == "dcgan" and model.virtual_batch:
            yield "game.name=acgan has labels, and model.virtual_batch has no use for them; leave it out"
        if self.networks == "paper" and (model.name != "dcgan" or data.resolution != 32 or data.labels != "class"):
            yield ("game.networks=paper needs model.name=dcgan, data.resolution=32 and data.labels=class; set them, or "
                   "game.networks=family")
        elif self.networks == "paper" and model != replace(DCGAN(), **{key: getattr(model, key) for key in _OF_PAPER}):
            yield (f"game.networks=paper has no other keys of model than {', '.join(_OF_PAPER)}; leave the others out, "
                   "or set game.networks=family")
        if self.networks == "paper" and recipe.engine.compile:
            yield "game.networks=paper has dropout with keyed masks, which cannot be compiled; set engine.compile=false"
