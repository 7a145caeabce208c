"""Files of autoencoders in the layout of diffusers' `AutoencoderKL`: safetensors, with their configuration in the
header (key `config`) or in a `config.json` beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, PositiveFloat, PositiveInt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import TypedDict

from scalegan.data.spec import Latents
from scalegan.errors import UserError
from scalegan.models.autoencoder_kl import Decoder, Encoder, Sizes, canonical, sizes_of
from scalegan.support.digests import digest_of
from scalegan.support.files import replacing, write_whole
from scalegan.support.reading import DamagedFile, parse_json, read_json, regular

FILE = "autoencoder.safetensors"        # beside the manifest of a set of latents
DECODER_FILE = "decoder.safetensors"    # in the run folder of what learns from them
HUB_FILE = "diffusion_pytorch_model.safetensors"
_CONFIG = "config"


class _Config(TypedDict):
    """What is read of a configuration; the weights' shapes tell the rest."""

    __pydantic_config__ = ConfigDict(extra="allow")
    scaling_factor: NotRequired[PositiveFloat | None]
    shift_factor: NotRequired[float | None]
    norm_num_groups: NotRequired[PositiveInt]


@dataclass(frozen=True)
class Autoencoder:
    """Both halves, in eval mode, and how latents are scaled.

    Args:
        scale: None if the file does not say.
        encoder: None if the file holds a decoder alone.
    """

    sizes: Sizes
    encoder: Encoder | None
    decoder: Decoder
    scale: float | None
    shift: float = 0.0


def read(path: Path) -> Autoencoder:
    """Reads a file, or that of a folder in diffusers' layout.

    Raises:
        UserError: if it is missing or damaged, or holds no such weights.
    """
    path = path / HUB_FILE if path.is_dir() else path
    if not path.exists():
        raise UserError(f"there is no autoencoder at {path}; name a .safetensors file in the layout of diffusers' "
                        "AutoencoderKL, or its folder")
    try:
        with safe_open(regular(path), "pt") as file:
            metadata = file.metadata() or {}
            weights = canonical({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 -- not a dict
        config = _config(path, metadata)
        if "scalegan" in metadata:
            raise ValueError("it is an export of a run; write the autoencoder's own layout by `scalegan export RUN "
                             "--format autoencoder-kl`")
        if sick := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
            raise ValueError(f"{sick[0]} has values that are not finite")
        sizes = sizes_of(weights, config.get("norm_num_groups", 32))
        decoder = filled(Decoder(sizes), weights)
        encoder = filled(Encoder(sizes), weights) if "encoder.conv_in.weight" in weights else None
    except (OSError, SafetensorError, DamagedFile, ValueError, RuntimeError) as error:
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise UserError(f"{path} is not an autoencoder in the layout of diffusers' AutoencoderKL ({last}); name its "
                        ".safetensors file, or a folder with it") from error
    return Autoencoder(sizes, encoder, decoder, config.get("scaling_factor"), config.get("shift_factor") or 0.0)


def _config(path: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    if _CONFIG in metadata:
        return parse_json(metadata[_CONFIG], f"{path}: {_CONFIG}", _Config)
    beside = path.with_name("config.json")
    return read_json(beside, _Config) if beside.is_file() else {}


def filled(half: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A half with its own among the weights. Raises RuntimeError if they do not fit."""
    parts = {name.partition(".")[0] for name in half.state_dict()}
    half.load_state_dict({name: tensor for name, tensor in weights.items() if name.partition(".")[0] in parts})
    return half.eval().requires_grad_(False)


def save(path: Path, sizes: Sizes, halves: list[nn.Module], scale: float, shift: float = 0.0) -> None:
    """Writes halves, with their configuration in the header; beside a file that is named as diffusers' hub has it, also
    as config.json."""
    weights = {name: tensor.contiguous() for half in halves for name, tensor in half.state_dict().items()}
    config = json.dumps(config_of(sizes, scale, shift), indent=1)
    with replacing(path) as unfinished:
        save_file(weights, unfinished, metadata={_CONFIG: config})
    if path.name == HUB_FILE:
        write_whole(path.with_name("config.json"), config)


def config_of(sizes: Sizes, scale: float, shift: float) -> dict[str, Any]:
    """The configuration as diffusers has it."""
    count = len(sizes.widths)
    return {"_class_name": "AutoencoderKL", "in_channels": sizes.channels, "out_channels": sizes.channels,
            "down_block_types": ["DownEncoderBlock2D"] * count, "up_block_types": ["UpDecoderBlock2D"] * count,
            "block_out_channels": list(sizes.widths), "layers_per_block": sizes.layers, "act_fn": "silu",
            "latent_channels": sizes.latent_channels, "norm_num_groups": sizes.groups, "scaling_factor": scale,
            "shift_factor": shift or None, "use_quant_conv": sizes.quant, "use_post_quant_conv": sizes.quant,
            "mid_block_add_attention": sizes.attention}


def decoder_beside(folder: Path, latents: Latents) -> Decoder:
    """The decoder in a set's folder. Raises UserError as `decoder_of` does."""
    return decoder_of(folder / FILE, latents, "prepare the data again")


def decoder_of(path: Path, latents: Latents, remedy: str) -> Decoder:
    """The decoder of latents as networks see them.

    Args:
        remedy: what to do about a file that is another's, for the error.

    Raises:
        UserError: if the file is missing, damaged, or has neither the decoder that was recorded nor the encoder.
    """
    found = read(path)
    same = digest_of(found.decoder) == latents.decoder or \
        (found.encoder is not None and digest_of(found.encoder) == latents.encoder)
    if not same:
        raise UserError(f"{path} has another decoder than that of the latents (SHA-256 {latents.decoder[:12]}...), and "
                        f"not their encoder either; {remedy}")
    found.decoder.scale, found.decoder.shift = latents.scale, latents.shift
    return found.decoder
