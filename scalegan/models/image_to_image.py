"""Builds the networks of games that turn images into images from the recipe's `model`."""

from collections.abc import Sequence

from torch import nn

from scalegan import config
from scalegan.config.models import CONVERTED
from scalegan.errors import RecipeError
from scalegan.models import autoencoder, fabbri, patch, resnet_i2i, rrdb, srvgg, unet
from scalegan.models.layers.sides import pair


def generator(model: config.Model, inputs: int, outputs: int, sides: int | Sequence[int]) -> nn.Module:
    """A network from images with `inputs` channels to images with `outputs` channels, of those sides in training.

    Raises:
        RecipeError: for a resolution that the network does not support.
    """
    if model.name in CONVERTED:
        return _upscaler(model, inputs, outputs)
    levels = unet.levels_of(min(pair(sides)))
    keys = {"width": model.width, "norm_group": model.norm_group, "dropout": model.dropout}
    try:
        if model.name == "fabbri":
            return fabbri.Generator(inputs, outputs, levels, upsampling=model.upsampling, **keys)
        keys["norm"] = model.norm
        if model.name == "unet":
            return unet.Generator(inputs, outputs, model.levels or levels, **keys)
        return resnet_i2i.Generator(inputs, outputs, model.blocks, **keys)
    except ValueError as error:
        raise RecipeError(f"model.name={model.name}: {error}") from error


def discriminator(model: config.Model, inputs: int) -> nn.Module:
    """PatchGAN on images with `inputs` channels, at one scale or several."""
    return patch.Discriminator(inputs, model.d_scales, layers=model.d_layers, width=model.d_width, norm=model.norm,
                               norm_group=model.norm_group, biased=model.name != "fabbri")


def energy(model: config.Model, inputs: int, sides: int | Sequence[int]) -> nn.Module:
    """Auto-encoder of images with `inputs` channels, whose error is their energy."""
    halvings = 4 if model.name == "fabbri" else 3
    return autoencoder.convolutional(sides, inputs, model.d_width, model.norm_group, halvings)


def _upscaler(model: config.Model, inputs: int, outputs: int) -> nn.Module:
    if model.name == "rrdb":
        return rrdb.Generator(inputs, outputs, model.scale, model.unshuffle, model.width, model.blocks, model.growth)
    return srvgg.Generator(inputs, model.scale, model.width, model.layers)
