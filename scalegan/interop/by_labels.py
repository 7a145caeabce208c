"""Converts the networks of StarGAN, which give images other labels, from another implementation's state dicts."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from scalegan import interop
from scalegan.config.game import REAL
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.interop import remedies
from scalegan.interop.conversion import Converted
from scalegan.interop.stargan import PUBLISHED
from scalegan.models import stargan

_SIDE = 128     # of the images of the published networks, in pixels


def convert(of_generator: dict, of_discriminator: dict | None, kind: Literal["attributes", "classes"] = "attributes",
            names: Sequence[str] = (), resolution: int | None = None) -> Converted:
    """G, and D if there is one, whose classifier tells which labels a photo has already.

    Args:
        names: of the labels, in order; by default those of the published networks for CelebA.
        resolution: of the images, where no D tells; 128 px by default.

    Raises:
        UserError: if the tensors are not those of StarGAN, networks and names do not belong together, or a name comes
            twice.
    """
    try:
        generator = interop.stargan_generator(of_generator).float()
        discriminator = interop.stargan_discriminator(of_discriminator).float() if of_discriminator else None
    except (ValueError, RuntimeError, TypeError) as error:
        remedy = remedies.other_family(of_generator, "stargan")
        raise UserError(f"stargan: {str(error).splitlines()[0]}{remedy}") from error
    names = tuple(names or PUBLISHED)
    if len(names) != generator.labels:
        raise UserError(f"stargan: the generator has {generator.labels} labels, and {len(names)} names, those "
                        "given or the published ones; name them in order, as in attributes=Male,Young or "
                        "classes=angry,happy")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"stargan: {twice[0]} names two labels; give each a name of its own")
    first, channels = generator.layers[0], generator.layers[-2].out_channels
    model: dict[str, Any] = {"name": "stargan", "width": first.out_channels,
                             "blocks": sum(isinstance(layer, stargan.Block) for layer in generator.layers)}
    if discriminator:
        layers = [layer for layer in discriminator.features if isinstance(layer, nn.Conv2d)]
        model |= {"d_width": layers[0].out_channels, "d_layers": len(layers)}
        resolution = discriminator.labels.kernel_size[0] << len(layers)
        if (layers[0].in_channels, discriminator.labels.out_channels) != (channels, generator.labels):
            raise UserError(f"stargan: the discriminator has {discriminator.labels.out_channels} labels of images with "
                            f"{layers[0].in_channels} channels, the generator {generator.labels} with {channels}; name "
                            "the discriminator that was trained with it")
    side = resolution or _SIDE
    spec = Spec("image", (channels, side, side), label_names=names, **{kind: len(names)})
    return Converted(generator, model, {REAL: spec}, {"name": "stargan"}, ("image", "condition"), discriminator)
