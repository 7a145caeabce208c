"""Keys under `game` for semi-supervised learning."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveInt

from scalegan.config import requirements
from scalegan.config.models import DCGAN
from scalegan.config.schema import typed
from scalegan.data.spec import Link, Own

if TYPE_CHECKING:
    from scalegan.config.recipe import Recipe


@typed
class SSGAN:
    """D classifies a few labelled images, and learns from the others that they are real and G's are not (Salimans et
    al., 2016, section 5)."""

    name: Literal["ssgan"] = "ssgan"
    unlabelled_weight: NonNegativeFloat = 1.0
    """Weight of L_unsupervised beside L_supervised; 1 in the paper, 0.5 in its code. With 0, D is an ordinary
    classifier of the labelled images."""
    networks: Literal["family", "dense"] = "family"
    """family: those of `model`, dcgan or mlp. dense: the fully connected ones of the published code for digits, which
    have no keys of `model`."""
    group: PositiveInt = 25
    """Consecutive samples of the global batch whose mean features are compared; with networks=dense, they also share
    G's BatchNorm statistics."""

    @property
    def of_family(self) -> bool:
        return self.networks == "family"

    def players(self, recipe: "Recipe") -> tuple[str, ...]:
        return "G", "D"

    def streams(self, recipe: "Recipe") -> Mapping[str, Link]:
        return {"real": Own(), "labelled": Own()}

    def groups(self, recipe: "Recipe") -> Mapping[str, int]:
        return {"game.group": self.group}

    def problems(self, recipe: "Recipe") -> Iterator[str]:
        model = recipe.model
        if recipe.data.labels in ("attributes", "vectors"):
            yield f"game.name=ssgan learns classes, not {recipe.data.labels}; set data.labels=class or none"
        if recipe.streams["labelled"].labels != "class":
            yield "game.name=ssgan learns classes from the stream labelled; set streams.labelled.labels=class"
        if not self.of_family:
            if model != DCGAN():
                yield "game.networks=dense takes no keys of model; leave them out, or set game.networks=family"
            if recipe.engine.compile:
                yield "game.networks=dense has keyed noise, which cannot be compiled; set engine.compile=false"
            if self.group == 1:
                yield "game.group=1 leaves G's BatchNorm one sample with nothing to normalise it by; set 2 or more"
        else:
            yield from requirements.last_features(recipe)
            if model.name == "dcgan" and model.virtual_batch:
                yield "model.virtual_batch has not been combined with game.name=ssgan; leave it out"
