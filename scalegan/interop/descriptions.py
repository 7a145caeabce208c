"""The `model` keys of networks, inferred from their layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from scalegan.models import biggan_deep, resnet_i2i
from scalegan.models.biggan import G_CHANNELS
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.dropout import KeyedDropout

#: Channels and resolution of its images, or channels of its input and its answer; and its `model` keys.
Description = tuple[int, int, dict[str, Any]]


def _dcgan(generator: Any) -> Description:
    width, channels = generator.layers[-2].weight.shape[:2]
    resolution = 4 << sum(hasattr(layer, "stride") for layer in generator.layers)
    return channels, resolution, {"width": width, "latent_dim": generator.latent_dim}


def _biggan(generator: Any) -> Description:
    """BigGAN's, or BigGAN-deep's, which come from the same code."""
    weights, deep = generator.state_dict(), isinstance(generator, biggan_deep.Generator)
    last, depth = generator.norm.weight.shape[0], generator.depth if deep else 1
    return generator.to_rgb.bias.shape[0], generator.resolution, {
        **({"name": "biggan_deep", "depth": depth} if deep else {"hierarchical": generator.hierarchical}),
        "width": last // G_CHANNELS[generator.resolution][-1], "latent_dim": generator.latent_dim,
        "shared_dim": 0 if generator.shared is None else weights["shared.normed.weight"].shape[1],
        "attention": [8 << int(i) // depth for i in generator.attention],
        "spectral": any(name.endswith(".u") for name in weights)}


def _stylegan2(generator: Any) -> Description:
    blocks = {int(res): block for res, block in generator.synthesis.blocks.items()}
    widths = {res: block.conv1.weight.shape[0] for res, block in blocks.items()}
    return blocks[generator.resolution].torgb.bias.shape[0], generator.resolution, {
        "latent_dim": generator.latent_dim, "w_dim": generator.synthesis.w_dim,
        "mapping_layers": len(generator.mapping.network.layers),
        "channel_base": max(res * width for res, width in widths.items()), "channel_max": max(widths.values()),
        "conv_clamp": blocks[4].conv1.clamp}


def _r3gan(generator: Any) -> Description:
    first = [stage[0] for stage in generator.stages]
    widths = [block.expand.weight.shape[1] for block in first]
    embedding = generator.linear.shape[1] - generator.latent_dim
    return generator.to_rgb.weight.shape[0], 4 << (len(widths) - 1), {
        "widths": widths, "cardinalities": [block.mix.groups for block in first],
        "blocks": [len(stage) for stage in generator.stages], "latent_dim": generator.latent_dim,
        "expansion": first[0].expand.weight.shape[0] // widths[0], "kernel": first[0].mix.weight.shape[2],
        **({"embedding_dim": embedding} if embedding else {})}


def _gat(generator: Any) -> Description:
    width = generator.mapping.w_avg.shape[1]
    return generator.shape[0], generator.shape[1], {
        "depth": len(generator.blocks), "width": width, "heads": generator.heads, "patch": generator.patch,
        "outputs": generator.levels, "latent_dim": generator.latent_dim}


def _resnet_i2i(generator: Any) -> Description:
    convolutions = [layer for layer in generator.layers if isinstance(layer, nn.Conv2d)]
    blocks = [layer for layer in generator.layers if isinstance(layer, resnet_i2i.Block)]
    dropout = [layer.p for layer in generator.modules() if isinstance(layer, KeyedDropout)]
    return convolutions[0].in_channels, convolutions[-1].out_channels, {
        "width": convolutions[0].out_channels, "blocks": len(blocks), "dropout": dropout[0] if dropout else 0.0,
        "norm": _norm(generator)}


def _unet(generator: Any) -> Description:
    first, last = generator.down[0][0], generator.last[1]
    return first.in_channels, last.out_channels, {"width": first.out_channels, "levels": generator.levels,
                                                  "norm": _norm(generator)}


def _norm(generator: nn.Module) -> str:
    kinds = [layer for layer in generator.modules() if isinstance(layer, GroupedBatchNorm | nn.InstanceNorm2d)]
    if not kinds:
        return "none"
    if isinstance(kinds[0], GroupedBatchNorm):
        return "batch"
    return "instance_affine" if kinds[0].affine else "instance"


def _rrdb(generator: Any) -> Description:
    channels = generator.last.out_channels
    return channels, channels, {
        "scale": generator.scale, "unshuffle": generator.multiple, "width": generator.first.out_channels,
        "blocks": len(generator.trunk), "growth": generator.trunk[0].layers[0].convs[0].out_channels}


def _srvgg(generator: Any) -> Description:
    convolutions = [layer for layer in generator.layers if isinstance(layer, nn.Conv2d)]
    first = convolutions[0]
    return first.in_channels, first.in_channels, {"scale": generator.scale, "width": first.out_channels,
                                                  "layers": len(convolutions) - 2}


@dataclass(frozen=True)
class OfDiscriminator:
    """A family's discriminator.

    Args:
        settings: which of `convert`'s settings it has.
        keys: the `model` keys that it does not share with the generator.
    """

    settings: tuple[str, ...] = ()
    keys: Callable[[Any], dict[str, Any]] = lambda discriminator: {}


def _stylegan2_d(discriminator: Any) -> dict[str, Any]:
    residual = next(iter(discriminator.blocks.values())).skip is not None
    mapping = discriminator.mapping
    return {"architecture": "resnet" if residual else "orig", "mbstd_group": discriminator.mbstd_group,
            **({} if mapping is None else {"d_mapping_layers": len(mapping.layers)})}


OF_DISCRIMINATORS = {
    "dcgan": OfDiscriminator(), "r3gan": OfDiscriminator(),
    "gat": OfDiscriminator((), lambda discriminator: {"label_dim": discriminator.head.out_features}),
    "biggan": OfDiscriminator(("sn_eps",)),
    "stylegan2": OfDiscriminator(("conv_clamp", "mapping_lr_multiplier", "num_half_res", "mbstd_group"), _stylegan2_d)}
FROM_LATENTS: dict[str, Callable[[Any], Description]] = {
    "dcgan": _dcgan, "biggan": _biggan, "stylegan2": _stylegan2, "r3gan": _r3gan, "gat": _gat}
FROM_IMAGES: dict[str, Callable[[Any], Description]] = {
    "resnet_i2i": _resnet_i2i, "unet": _unet, "rrdb": _rrdb, "srvgg": _srvgg}
