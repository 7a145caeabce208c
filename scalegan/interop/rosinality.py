"""StyleGAN2 from the weights of rosinality/stylegan2-pytorch: its tensors under the names of the official versions.

Its layers scale weights as the official ones do, so that only names, numbering and axes differ. Its networks clamp
nothing, and it keeps no average style with a network: `latent_avg` lies beside those that were made from TensorFlow's,
and its generate.py measures that of others.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from scalegan.interop.reference import renamed, unwrapped
from scalegan.models.stylegan2 import Generator

State = Mapping[str, Tensor]

_REPOSITORY = "rosinality/stylegan2-pytorch"
_OWN = re.compile(r"(convs\.\d+|conv1|to_rgb1)\.conv\.modulation\.weight|input\.input|style\.1\.weight|"
                  r"convs\.0\.0\.weight|convs\.\d+\.conv2\.1\.weight|final_conv\.0\.weight|final_linear\.\d\.weight")
#: The average style, which its files hold beside the networks, if at all.
AVERAGE = "latent_avg"
_STYLES = 4096          # over which generate.py takes a mean
#: The parts of a layer, in G and in D.
_LAYER = ((r"\.conv\.modulation\.", ".affine."), (r"\.conv\.(weight|blur\.kernel)$", r".\1"),
          (r"\.activate\.bias$", ".bias"), (r"\.noise\.weight$", ".noise_strength"),
          (r"\.(?:\w+\.)?kernel$", ".resample_filter"))


def is_theirs(names: Iterable[str]) -> bool:
    return any(_OWN.fullmatch(name) for name in unwrapped(dict.fromkeys(names)))


def generator_state(state: State) -> dict[str, Tensor]:
    """Its `Generator` (`g` or `g_ema`) as the official version's; with `latent_avg`, if that has been put with it.

    Raises:
        ValueError: if it has another architecture, such as its SWAGAN.
    """
    state = _checked(state)
    if "style.1.bias" not in state:
        raise ValueError(f"this is not a state dict of {_REPOSITORY}'s Generator: style.1.bias is missing")
    rules = ((r"^style\.(\d+)\.", lambda match: f"mapping.fc{int(match[1]) - 1}."),
             (rf"^{AVERAGE}$", "mapping.w_avg"), (r"^input\.input$", "synthesis.b4.const"),
             (r"^conv1\.", "synthesis.b4.conv1."), (r"^to_rgb1\.", "synthesis.b4.torgb."),
             (r"^to_rgbs\.(\d+)\.", lambda match: f"synthesis.b{8 << int(match[1])}.torgb."),
             (r"^convs\.(\d+)\.", lambda match: _convolution(int(match[1]) + 1)),
             (r"^noises\.noise_(\d+)$", lambda match: _convolution(int(match[1])) + "noise_const"),
             *_LAYER)
    found = {"mapping.w_avg": state["style.1.bias"]}    # to be measured
    return found | {(new := renamed(name, rules)): _without_ones(new, value) for name, value in state.items()}


@torch.no_grad()
def measure_average(generator: Generator) -> None:
    """Gives a generator the mean style of latents that are always the same, as many as generate.py takes."""
    z = torch.randn(_STYLES, generator.latent_dim, generator=torch.Generator().manual_seed(0))
    average = generator.mapping.w_avg
    if not average.is_meta:
        average.copy_(generator.mapping.network(z.to(average), None).mean(0))


def discriminator_state(state: State) -> dict[str, Tensor]:
    """Its `Discriminator` (`d`) as the official version's.

    Raises:
        ValueError: if it has another architecture, such as its SWAGAN.
    """
    state = _checked(state)
    blocks = len({name.split(".")[1] for name in state if re.match(r"convs\.\d+\.conv2\.", name)})
    highest = 4 << blocks
    rules = ((r"^convs\.0\.\d\.", f"b{highest}.fromrgb."),
             (r"^convs\.(\d+)\.", lambda match: f"b{highest >> int(match[1]) - 1}."),
             (r"\.conv1\.\d\.", ".conv0."), (r"\.conv2\.\d\.", ".conv1."), (r"\.skip\.\d\.", ".skip."),
             (r"^final_conv\.\d\.", "b4.conv."), (r"^final_linear\.0\.", "b4.fc."), (r"^final_linear\.1\.", "b4.out."),
             (r"\.kernel$", ".resample_filter"))
    return {(new := renamed(name, rules)): _without_ones(new, value) for name, value in state.items()}


def _checked(state: State) -> dict[str, Tensor]:
    state = unwrapped(state)
    wavelets = next((name for name in state if re.search(r"(^|\.)(iwt|dwt)\.", name)), None)
    if wavelets:
        raise ValueError(f"{wavelets} is a filter of SWAGAN; of {_REPOSITORY}, only StyleGAN2 is supported")
    return state


def _convolution(number: int) -> str:
    """The prefix of a convolution by its number: 0 is that at 4 px, and every resolution above has two."""
    return f"synthesis.b{4 << (number + 1) // 2}.conv{(number + 1) % 2}."


def _without_ones(name: str, value: Tensor) -> Tensor:
    """In the official shape: without the axes that its grouped convolutions, or broadcasting, need."""
    if name.endswith("resample_filter"):
        return value / value.sum()      # where it doubles the resolution, it is kept four times as large
    if name.endswith("noise_strength"):
        return value.reshape(())
    if name.endswith("noise_const"):
        return value.reshape(value.shape[-2:])
    if name.endswith("torgb.bias"):
        return value.reshape(-1)
    return value[0] if name.endswith("const") or value.dim() == 5 else value
