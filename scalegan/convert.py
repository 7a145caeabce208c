"""Makes an export, which `scalegan sample` and `scalegan.load` read, of another implementation's generator.

FILE is .safetensors; .pt, .pth or .tar of torch.save with nothing but tensors and containers in it; or NVIDIA's .pkl,
whose code is not run. Names and shapes must be those of pytorch/examples (dcgan), ajbrock/BigGAN-PyTorch,
NVlabs/stylegan2-ada-pytorch and stylegan3, or brownvc/R3GAN. What the tensors do not tell is given as KEY=VALUE:
bn_eps, sn_eps (biggan); conv_clamp, mapping_lr_multiplier, num_half_res, w_avg_beta (stylegan2).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalegan.errors import UserError

#: What the tensors of a family do not tell.
SETTINGS = {"dcgan": (), "biggan": ("bn_eps", "sn_eps"), "r3gan": (),
            "stylegan2": ("conv_clamp", "mapping_lr_multiplier", "num_half_res", "w_avg_beta")}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scalegan convert", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="checkpoint to convert")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="what the tensors do not tell")
    parser.add_argument("--family", required=True, choices=SETTINGS, help="architecture")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--key", help="of the network in FILE, such as G_ema or state_dict.netG (default: the usual)")
    parser.add_argument("--resolution", type=int, help="refuse a network of another resolution")
    parser.add_argument("--images", type=int, default=0, help="real images that it was trained on, if known")
    options = parser.parse_intermixed_args(arguments)
    settings = _settings(options.family, options.settings)
    if options.out.suffix != ".safetensors":
        raise UserError(f"--out {options.out} should end with .safetensors")

    from scalegan import foreign, generator_file

    tensors = foreign.state_dict(foreign.read(options.file), options.key)
    generator = convert(tensors, options.family, settings, options.images)
    size = generator.about["task"]["shape"][-1]
    if options.resolution not in (None, size):
        raise UserError(f"--resolution {options.resolution}, but {options.file} makes images of {size} px")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    generator_file.save(generator, options.out)
    print(options.out.resolve())
    return 0


def _settings(family: str, given: list[str]) -> dict[str, Any]:
    """KEY=VALUE to a dict, where the family knows the key."""
    found = {}
    for item in given:
        key, _, value = item.partition("=")
        if key not in SETTINGS[family]:
            known = ", ".join(SETTINGS[family]) or "no settings"
            raise UserError(f"{item}: {family} has {known}")
        try:
            found[key] = json.loads(value)
        except ValueError:
            raise UserError(f"{item}: '{value}' is not a number, nor null") from None
    return found


def convert(tensors: dict, family: str, settings: dict[str, Any] | None = None, images: int = 0):
    """Our generator of a reference's state dict; its `about` rebuilds it.

    Raises:
        UserError: where the tensors are not those of the family, or need what recipes do not have.
    """
    import torch
    from pydantic import TypeAdapter, ValidationError

    from scalegan import config, interop, networks

    settings = settings or {}
    try:
        generator = getattr(interop, f"{family}_generator")(tensors, **settings).float()
        channels, resolution, model = _DESCRIBE[family](generator)
        task = {"shape": [channels, resolution, resolution], "num_classes": getattr(generator, "num_classes", 0),
                "multilabel": False}
        about = {"model": {"name": family, **model, **settings}, "images": images, "task": task}
        checked = TypeAdapter(config.Model).validate_python(about["model"])
        with torch.device("meta"):
            rebuilt = networks.generator(checked, networks.Task(**task))
        rebuilt.load_state_dict(generator.state_dict(), assign=True)
    except ValidationError as error:
        raise UserError(f"{family}: {error.errors()[0]['loc'][-1]}: {error.errors()[0]['msg']}") from error
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{family}: {str(error).splitlines()[0]}") from error
    generator.about = about
    return generator


# What a generator is, from its own shapes: channels and side of its images, and the model's keys in a recipe.
Description = tuple[int, int, dict[str, Any]]


def _dcgan(generator: Any) -> Description:
    width, channels = generator.layers[-2].weight.shape[:2]
    resolution = 4 << sum(hasattr(layer, "stride") for layer in generator.layers)
    return channels, resolution, {"width": width, "latent_dim": generator.latent_dim}


def _biggan(generator: Any) -> Description:
    from scalegan.models.biggan import G_CHANNELS

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
