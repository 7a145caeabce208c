"""StyleGAN2 from the weights of the official PyTorch versions (NVlabs/stylegan3, NVlabs/stylegan2-ada-pytorch), and of
rosinality/stylegan2-pytorch.

Widths, depths, resolution and conditioning follow from the tensors' names and shapes. Settings that they do not
determine are keyword arguments, with the reference's defaults: `conv_clamp=256` (None in rosinality's, and in
stylegan2-ada-pytorch without fp16), `mapping_lr_multiplier=0.01`, `num_half_res=4`, `w_avg_beta=0.998`; for the
discriminator also `mbstd_group=4`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scalegan.interop import rosinality
from scalegan.interop.reference import unwrapped
from scalegan.models.layers.resample import TAPS
from scalegan.models.stylegan2 import Discriminator, Generator

State = Mapping[str, Tensor]

#: Patterns for the reference's names, and our replacements. The first match is used.
GENERATOR_NAMES = (
    (r"mapping\.w_avg", r"mapping.w_avg"),
    (r"mapping\.embed\.", r"mapping.network.embed."),
    (r"mapping\.fc(\d+)\.", r"mapping.network.layers.\1."),
    (r"synthesis\.b4\.const", r"synthesis.const"),
    (r"synthesis\.b(\d+)\.", r"synthesis.blocks.\1."),
)
DISCRIMINATOR_NAMES = (
    (r"mapping\.embed\.", r"mapping.embed."),
    (r"mapping\.fc(\d+)\.", r"mapping.layers.\1."),
    (r"b4\.(conv|fc|out)\.", r"\1."),
    (r"b\d+\.fromrgb\.", r"fromrgb."),
    (r"b(\d+)\.", r"blocks.\1."),
)


def stylegan2_generator(state_dict: State, **options) -> Generator:
    """Our generator with the weights of the reference's `Generator`, in eval mode."""
    if rosinality.is_theirs(state_dict):
        generator = stylegan2_generator(rosinality.generator_state(state_dict), **{"conv_clamp": None} | options)
        if rosinality.AVERAGE not in unwrapped(state_dict):
            rosinality.measure_average(generator)
        return generator
    state, what = _without_filters(state_dict), "a StyleGAN2 generator's"
    width = _widths(state, r"synthesis\.b(\d+)\.conv1\.weight", what)
    layers = _count(state, r"mapping\.fc(\d+)\.weight")
    w_dim = _shape(state, f"mapping.fc{layers - 1}.weight", what)[0]
    embed = state.get("mapping.embed.weight")
    with torch.device("meta"):
        generator = Generator(
            resolution=max(width), channels=_shape(state, f"synthesis.b{max(width)}.torgb.weight", what)[0],
            latent_dim=_shape(state, "mapping.fc0.weight", what)[1] - (0 if embed is None else embed.shape[0]),
            num_classes=0 if embed is None else embed.shape[1], w_dim=w_dim, mapping_layers=layers,
            **_base_and_max(width), **options)
    return _filled(generator, state, GENERATOR_NAMES, what)


def stylegan2_discriminator(state_dict: State, mbstd_group: int = 4, **options) -> Discriminator:
    """Our discriminator with the weights of the reference's `Discriminator`, in eval mode."""
    if rosinality.is_theirs(state_dict):
        options = {"conv_clamp": None} | options
        return stylegan2_discriminator(rosinality.discriminator_state(state_dict), mbstd_group, **options)
    state, what = _without_filters(state_dict), "a StyleGAN2 discriminator's"
    if _count(state, r"b(\d+)\.fromrgb\.weight") > 1:
        raise ValueError("the weights are those of a discriminator with input skips; only the residual and the "
                         "original architecture are supported")
    width = _widths(state, r"b(\d+)\.conv0\.weight", what)
    out, inner = _shape(state, "b4.conv.weight", what)[:2]
    width[4] = out
    embed = state.get("mapping.embed.weight")
    with torch.device("meta"):
        discriminator = Discriminator(
            resolution=max(width), channels=_shape(state, f"b{max(width)}.fromrgb.weight", what)[1],
            num_classes=0 if embed is None else embed.shape[1],
            architecture="resnet" if any(".skip." in name for name in state) else "orig",
            cmap_dim=None if embed is None else _shape(state, "b4.out.weight", what)[0],
            mapping_layers=_count(state, r"mapping\.fc(\d+)\.weight"), mbstd_group=mbstd_group,
            mbstd_channels=inner - out, **_base_and_max(width), **options)
    return _filled(discriminator, state, DISCRIMINATOR_NAMES, what)


def _without_filters(state: State) -> dict[str, Tensor]:
    """The state dict without its constant filters, which must be binomial."""
    taps = torch.tensor(TAPS, dtype=torch.float64)
    expected = torch.outer(taps, taps) / taps.sum() ** 2
    for name, value in state.items():
        if name.endswith("resample_filter") and not (
                value.shape == expected.shape and torch.allclose(value.double().cpu(), expected)):
            raise ValueError(f"{name} is not the filter {list(TAPS)}; networks with other filters are not supported")
    return {name: value for name, value in state.items() if not name.endswith("resample_filter")}


def _widths(state: State, pattern: str, what: str) -> dict[int, int]:
    """Input channels by resolution, from the weights whose names match the pattern."""
    found = {int(m[1]): value.shape[1] for name, value in state.items() if (m := re.fullmatch(pattern, name))}
    if not found:
        raise ValueError(f"this state dict is not {what}: no name in it matches {pattern}")
    return found


def _base_and_max(width: dict[int, int]) -> dict[str, int]:
    """The channel_base and channel_max that give these widths."""
    return {"channel_base": max(res * channels for res, channels in width.items()), "channel_max": max(width.values())}


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _shape(state: State, name: str, what: str) -> torch.Size:
    if name not in state:
        raise ValueError(f"this state dict is not {what}: it lacks {name}")
    return state[name].shape


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in names:
        if re.match(theirs, name):
            return re.sub(f"^{theirs}", ours, name)
    return name


def _filled(model: nn.Module, state: State, names: tuple[tuple[str, str], ...], what: str) -> nn.Module:
    """The model, built on the meta device, with copies of the state's tensors in it."""
    copies = {_renamed(name, names): value.detach().clone(memory_format=torch.contiguous_format)
              for name, value in state.items()}
    own = model.state_dict()
    wrong = ([f"lacks {name}" for name in own.keys() - copies.keys()]
             + [f"has {name}, which our network lacks" for name in copies.keys() - own.keys()]
             + [f"holds {name} as {list(copies[name].shape)}, not {list(own[name].shape)}"
                for name in own.keys() & copies.keys() if own[name].shape != copies[name].shape])
    if wrong:
        raise ValueError(f"this state dict is not {what}: it {sorted(wrong)[0]}")
    model.load_state_dict(copies, assign=True)
    return model.eval()
