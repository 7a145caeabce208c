"""Converts another implementation's state dict to a generator that can be exported."""

from collections.abc import Callable
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from scalegan import config, interop
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.interop import remedies
from scalegan.models import families
from scalegan.models.biggan import G_CHANNELS


def convert(tensors: dict, family: str,
            settings: dict[str, Any] | None = None) -> tuple[nn.Module, dict[str, Any], Spec]:
    """Our generator with a reference's weights, the `model` keys that rebuild it, and the spec of its samples.

    Raises:
        UserError: if the tensors are not those of the family, or need something that recipes cannot express.
    """
    settings = settings or {}
    remedy = remedies.of_names(tensors)
    if remedy:
        raise UserError(f"{family}: {remedy}")
    try:
        generator = getattr(interop, f"{family}_generator")(tensors, **settings).float()
        channels, resolution, model = _DESCRIBE[family](generator)
        spec = Spec("image", (channels, resolution, resolution), getattr(generator, "num_classes", 0))
        described = {"name": family, **model, **settings}
        with torch.device("meta"):
            rebuilt = families.generator(TypeAdapter(config.Model).validate_python(described), spec)
        rebuilt.load_state_dict(generator.state_dict(), assign=True)
    except ValidationError as error:
        raise UserError(f"{family}: {error.errors()[0]['loc'][-1]}: {error.errors()[0]['msg']}") from error
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{family}: {str(error).splitlines()[0]}") from error
    return generator, described, spec


# Inferred from a generator's shapes: channels and resolution of its images, and its `model` keys.
Description = tuple[int, int, dict[str, Any]]


def _dcgan(generator: Any) -> Description:
    width, channels = generator.layers[-2].weight.shape[:2]
    resolution = 4 << sum(hasattr(layer, "stride") for layer in generator.layers)
    return channels, resolution, {"width": width, "latent_dim": generator.latent_dim}


def _biggan(generator: Any) -> Description:
    weights = generator.state_dict()
    last = generator.norm.weight.shape[0]
    return generator.to_rgb.bias.shape[0], generator.resolution, {
        "width": last // G_CHANNELS[generator.resolution][-1], "latent_dim": generator.latent_dim,
        "shared_dim": 0 if generator.shared is None else weights["shared.normed.weight"].shape[1],
        "hierarchical": generator.hierarchical, "attention": [8 << int(i) for i in generator.attention],
        "spectral": any(name.endswith(".u") for name in weights)}


def _stylegan2(generator: Any) -> Description:
    blocks = {int(res): block for res, block in generator.synthesis.blocks.items()}
    widths = {res: block.conv1.weight.shape[0] for res, block in blocks.items()}
    return blocks[generator.resolution].torgb.bias.shape[0], generator.resolution, {
        "latent_dim": generator.latent_dim, "w_dim": generator.synthesis.w_dim,
        "mapping_layers": len(generator.mapping.network.layers),
        "channel_base": max(res * width for res, width in widths.items()), "channel_max": max(widths.values())}


def _r3gan(generator: Any) -> Description:
    first = [stage[0] for stage in generator.stages]
    widths = [block.expand.weight.shape[1] for block in first]
    embedding = generator.linear.shape[1] - generator.latent_dim
    return generator.to_rgb.weight.shape[0], 4 << (len(widths) - 1), {
        "widths": widths, "cardinalities": [block.mix.groups for block in first],
        "blocks": [len(stage) for stage in generator.stages], "latent_dim": generator.latent_dim,
        "expansion": first[0].expand.weight.shape[0] // widths[0], "kernel": first[0].mix.weight.shape[2],
        **({"embedding_dim": embedding} if embedding else {})}


_DESCRIBE: dict[str, Callable[[Any], Description]] = {
    "dcgan": _dcgan, "biggan": _biggan, "stylegan2": _stylegan2, "r3gan": _r3gan}
