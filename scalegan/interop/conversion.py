"""Converts another implementation's state dict to a generator that can be exported."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from scalegan import config, interop
from scalegan.config.game import REAL
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.games.pix2pix.settings import INPUT, PAIRED, TARGET
from scalegan.interop import descriptions, remedies
from scalegan.models import families, image_to_image

_LEVELS = 8                 # halvings of the images that networks were trained on, if nothing tells: 256 px
_LIGHTNESS_TO_AB = (1, 2)   # channels of a network that colours


@dataclass(frozen=True)
class Converted:
    """A converted generator, described as if a game had trained it.

    Args:
        model: the `model` keys that rebuild it; `game`: the keys of a game whose generator it could be.
        specs: what the game's streams hold.
        inputs: what the generator takes, as in `games.base.Export`.
        discriminator: of the same game, if there is one.
        live: the generator's weights, if `generator` holds their average.
    """

    generator: nn.Module
    model: Mapping[str, Any]
    specs: Mapping[str, Spec]
    game: Mapping[str, Any] = field(default_factory=lambda: {"name": "gan"})
    inputs: tuple[str, ...] = ("z", "condition")
    discriminator: nn.Module | None = None
    live: nn.Module | None = None

    @property
    def resolution(self) -> int:
        """Side of its images."""
        return self.specs.get(TARGET, next(iter(self.specs.values()))).shape[-1]


def convert(tensors: dict, family: str, settings: dict[str, Any] | None = None,
            resolution: int | None = None) -> Converted:
    """Our generator with a reference's weights, and its description.

    Args:
        settings: keyword arguments of the family's function in `scalegan.interop`.
        resolution: side of the images that a network for any size was trained on.

    Raises:
        UserError: if the tensors are not those of the family, or need something that recipes cannot express.
    """
    settings = settings or {}
    try:
        generator = getattr(interop, f"{family}_generator")(tensors, **settings).float()
        made = _from_images(generator, family, resolution) if family in descriptions.FROM_IMAGES else \
            _from_latents(generator, family, settings)
        model = TypeAdapter(config.Model).validate_python(made.model)
        with torch.device("meta"):
            rebuilt = _rebuilt(made, model)
        rebuilt.load_state_dict(generator.state_dict(), assign=True)
    except (ValueError, RuntimeError, TypeError) as error:
        remedy = "" if isinstance(error, ValidationError) else remedies.other_family(tensors, family)
        raise UserError(f"{family}: {_line(error)}{remedy}") from error
    return made


def with_discriminator(made: Converted, tensors: dict, family: str, settings: Mapping[str, Any]) -> Converted:
    """The same with the discriminator that it was trained against.

    Raises:
        UserError: if the tensors are not those of the family's discriminator, or no recipe has both networks.
    """
    family_of_d, known = f"{family}_discriminator", descriptions.OF_DISCRIMINATORS[family]
    try:
        d = getattr(interop, family_of_d)(tensors, **{k: v for k, v in settings.items() if k in known.settings}).float()
        made = replace(made, discriminator=d, model={**made.model, **known.keys(d)})
        with torch.device("meta"):
            rebuilt = families.discriminator(TypeAdapter(config.Model).validate_python(made.model), made.specs[REAL])
        _same(d, rebuilt, "discriminator", "that the generator's keys describe")
    except (ValueError, RuntimeError, TypeError, UserError) as error:
        raise UserError(f"{family}: {_line(error)}") from error
    return made


def with_live(made: Converted, tensors: dict, family: str, settings: Mapping[str, Any]) -> Converted:
    """The same with the live weights of its generator, which is an average.

    Raises:
        UserError: if the tensors are another generator's.
    """
    try:
        live = getattr(interop, f"{family}_generator")(tensors, **settings).float()
        _same(live, made.generator, "generator", "of its average")
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{family}: {_line(error)}") from error
    return replace(made, live=live)


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return f"{error.errors()[0]['loc'][-1]}: {error.errors()[0]['msg']}"
    return str(error).splitlines()[0]


def _same(network: nn.Module, other: nn.Module, what: str, whose: str) -> None:
    """Raises ValueError if the two do not hold the same tensors."""
    own, expected = ({name: list(tensor.shape) for name, tensor in one.state_dict().items()}
                     for one in (network, other))
    for name in own | expected:
        if own.get(name) != expected.get(name):
            raise ValueError(f"its {what} has {name} as {own.get(name, 'nothing')}, and that {whose} as "
                             f"{expected.get(name, 'nothing')}")


def _from_latents(generator: nn.Module, family: str, settings: Mapping[str, Any]) -> Converted:
    channels, resolution, model = descriptions.FROM_LATENTS[family](generator)
    spec = Spec("image", (channels, resolution, resolution), getattr(generator, "num_classes", 0))
    return Converted(generator, {"name": family, **model, **settings}, {REAL: spec})


def _from_images(generator: Any, family: str, resolution: int | None) -> Converted:
    """As the generator of pix2pix, or of colorization if it makes two channels of one."""
    inputs, outputs, model = descriptions.FROM_IMAGES[family](generator)
    scale, side = model.get("scale", 1), resolution or 2 ** model.get("levels", _LEVELS)
    model = {"name": family, **model}
    if (inputs, outputs) == _LIGHTNESS_TO_AB:
        spec = Spec("image", (3, side, side))
        return Converted(generator, model, {TARGET: spec}, {"name": "colorization"}, ("lightness",))
    small = max(side // scale, 1)
    specs = {TARGET: Spec("image", (outputs, small * scale, small * scale)),
             INPUT: Spec("image", (inputs, small, small))}
    return Converted(generator, model, specs, {"name": "pix2pix", "input": PAIRED}, ("image",))


def _rebuilt(made: Converted, model: config.Model) -> nn.Module:
    if REAL in made.specs:
        return families.generator(model, made.specs[REAL])
    inputs, outputs = (made.specs[stream].shape[0] for stream in (INPUT, TARGET)) if INPUT in made.specs else \
        _LIGHTNESS_TO_AB
    return image_to_image.generator(model, inputs, outputs, made.resolution)
