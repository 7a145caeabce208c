"""Large photos: answers in tiles are those of the whole photo, and no tile is large."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scalegan.models import resnet_i2i, rrdb, srresnet, srvgg, unet
from scalegan.pictures import tiles, translation
from scalegan.pictures.translation import remark, translate

pytestmark = pytest.mark.slow


class Upscaler(nn.Module):
    """Two convolutions, and one more after doubling the size: it looks three pixels far, or two and a half."""

    scale, reach, multiple = 2, 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 1, 1), nn.PixelShuffle(2),
                                    nn.Conv2d(3, 3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# What a network sees of a photo, and the network.
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "U-Net": ("image", lambda: unet.Generator(3, 3, 5, 4, "batch")),
    "U-Net without norm": ("image", lambda: unet.Generator(3, 3, 5, 4, "none")),
    "ResNet": ("image", lambda: resnet_i2i.Generator(3, 3, 2, 4, "batch")),
    "ResNet of edges": ("edges", lambda: resnet_i2i.Generator(1, 3, 2, 4, "batch")),
    "upscaler": ("image", Upscaler), "SRResNet": ("small2", lambda: srresnet.Generator(3, 2, 4, 1)),
    "SRVGG": ("image", lambda: srvgg.Generator(3, 4, 8, 6)),
    "RRDBNet with unshuffling": ("image", lambda: rrdb.Generator(3, 3, 2, 2, 8, 1, 4)),
}


def made(name: str) -> nn.Module:
    """A network whose weights are large enough for all within its reach to count."""
    torch.manual_seed(0)
    kind, make = NETWORKS[name]
    network = make().eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    network.about = {"export": {"inputs": [kind], "output": "image"}}
    return network


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(150, 301), (64, 400), (3, 333)])
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_the_answer_to_the_whole_photo(name: str, size: tuple[int, int],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    network, pixels = made(name), photo(*size)
    whole = translate(network, pixels)
    monkeypatch.setattr(tiles, "_STEP", 64)
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    parts = translate(network, pixels)
    assert len(seen) > 1 and parts.shape == whole.shape == (*(network.scale * side for side in size), 3)
    apart = np.abs(parts.astype(int) - whole)       # convolutions of other sizes may round otherwise
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_with_a_smaller_overlap_there_would_be_seams(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, pixels = made(name), photo(150, 301)
    whole = translate(network, pixels)
    monkeypatch.setattr(tiles, "_STEP", 64)
    network.reach = -1      # with the pixel that edges need, no overlap
    assert np.abs(translate(network, pixels).astype(int) - whole).max() > 1


@pytest.mark.parametrize("reach, scale, exact", [(765, 1, True), (84, 1, True), (40, 4, True), (348, 4, False)])
def test_no_tile_is_large_and_seams_are_said(reach: int, scale: int, exact: bool) -> None:
    network = Upscaler()
    network.reach, network.scale, network.multiple = reach, scale, 1
    network.about = {"export": {"inputs": ["image"], "output": "image"}}
    cuts = tiles.cuts(network, 6000)
    assert max(cut.seen.stop - cut.seen.start for cut in cuts) * scale <= 2600
    kept = [index for cut in cuts for index in range(cut.place.start, cut.place.stop)]
    assert kept == list(range(6000))
    assert (remark(network, 4000, 6000) is None) == exact and remark(network, 450, 450) is None


@pytest.mark.parametrize("size, reduced", [((10, 256), (2, 64)), ((100, 90), (53, 47)), ((64, 64), (64, 64))])
def test_networks_that_normalise_over_a_photo_see_large_ones_reduced(size: tuple[int, int], reduced: tuple[int, int],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "_LONGEST_PIXELS", 64)
    monkeypatch.setattr(translation, "_REDUCED_PIXELS", 2500)
    network, seen = made("upscaler"), []
    network.reach = None
    network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    assert translate(network, photo(*size)).shape == (2 * size[0], 2 * size[1], 3) and seen == [reduced]
    assert (remark(network, *size) is None) == (size == reduced)
