"""Answers to photos of any size from networks that were trained at one."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.colour import in_gamut, rgb_to_lab
from scalegan.data.derived import DERIVED
from scalegan.data.pixels import from_uint8, to_uint8

_PIXELS_AT_ONCE = 1 << 20       # of a photo whose colours are converted: some 200 MB
_LONGEST = 8                    # times `side`: the longer side that a network for colours sees at most
_LONGEST_PIXELS = 2048          # the same for other networks, which see photos at their own size


def translate(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """A network's answer to a photo, uint8 [H, W, 3 or 1], from what it was trained to see, made from the photo.

    Args:
        network: as `scalegan.load` returns it, from images of any size to images.
        pixels: uint8 [H, W, 3 or 1].
    """
    kind = network.about["export"]["inputs"][0]
    if kind == "lightness":
        return colourise(network, pixels, network.about["spec"]["shape"][-1])
    return _at_its_own_size(network, pixels, kind)


@torch.inference_mode()
def _at_its_own_size(network: nn.Module, pixels: np.ndarray, kind: str) -> np.ndarray:
    device, size = next(network.parameters()).device, pixels.shape[:2]
    photo = from_uint8(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
    if max(size) > _LONGEST_PIXELS:
        scale = _LONGEST_PIXELS / max(size)
        photo = F.interpolate(photo, [max(1, round(side * scale)) for side in size], mode="bicubic", antialias=True)
    channels = next(layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d))
    if kind in ("grey", "edges"):
        seen = DERIVED[kind].make(photo)
    elif channels == 1:
        seen = DERIVED["grey"].make(photo)
    else:
        seen = photo.expand(-1, channels, -1, -1)
    answer = network(seen.to(device)).cpu()
    if answer.shape[2:] != size:
        answer = F.interpolate(answer, size, mode="bicubic")
    return to_uint8(answer)[0].permute(1, 2, 0).numpy()


@torch.inference_mode()
def colourise(network: nn.Module, pixels: np.ndarray, side: int) -> np.ndarray:
    """A photo in the network's colours, with its own lightness, uint8 [H, W, 3].

    The network sees the photo's lightness with the shorter side at `side` pixels, or fewer for a panorama; its a* and
    b* are enlarged to the photo's size by bilinear interpolation, as in Zhang et al.'s demonstration (2016). Colours
    that sRGB lacks at that lightness lose chroma.

    Args:
        network: `Colourised`, whose generator answers with a* / 110 and b* / 110.
        pixels: uint8 [H, W, 3 or 1].
    """
    device = next(network.parameters()).device
    lightness = torch.cat([rgb_to_lab(_rgb(part, device))[:, :1] for part in _strips(pixels)], 2)    # [1, 1, H, W]
    height, width = lightness.shape[2:]
    scale = min(side / min(height, width), _LONGEST * side / max(height, width))
    small = F.interpolate(lightness, (math.ceil(height * scale), math.ceil(width * scale)), mode="bilinear",
                          antialias=True)
    ab = network.chroma(small / 50 - 1)
    ab = F.interpolate(ab, (height, width), mode="bilinear")
    rows = _rows(width)
    parts = zip(lightness.split(rows, 2), ab.split(rows, 2))
    return np.concatenate([_bytes(in_gamut(torch.cat(part, 1))) for part in parts])


def _rows(width: int) -> int:
    return max(1, _PIXELS_AT_ONCE // width)


def _strips(pixels: np.ndarray) -> Iterator[np.ndarray]:
    rows = _rows(pixels.shape[1])
    return (pixels[first : first + rows] for first in range(0, len(pixels), rows))


def _rgb(pixels: np.ndarray, device: torch.device) -> Tensor:
    """[1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(2, 0, 1)[None].expand(-1, 3, -1, -1) / 255


def _bytes(rgb: Tensor) -> np.ndarray:
    return (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
