"""Answers to photos of any size from networks that were trained at one."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.colour import in_gamut, rgb_to_lab
from scalegan.data.derived import DERIVED
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.pictures import tiles

_PIXELS_AT_ONCE = 1 << 20       # of a photo whose colours are converted: some 200 MB
_LONGEST = 8                    # times `side`: the longer side that a network for colours sees at most
_LONGEST_PIXELS = 2048          # the same for networks that must see a photo as a whole,
_REDUCED_PIXELS = 3 << 20       # and the pixels of what they then see: 2,048 x 1,536, or 1,773 x 1,773
_MOST_PIXELS = 1 << 29          # of an answer, which takes four bytes each while it is written
_MADE = ("grey", "edges")       # of a photo; for other inputs, it is taken as it is


def turns_images_into_images(network: nn.Module) -> bool:
    """Whether a network, as `scalegan.load` returns it, answers images of any size, and perhaps labels, with images."""
    export = network.about["export"]
    first, *others = export["inputs"]
    return first in {"image", *DERIVED} and others in ([], ["condition"]) and export["output"] == "image" \
        and hasattr(network, "scale")


@torch.inference_mode()
def translate(network: nn.Module, pixels: np.ndarray, said: Callable[[str], None] = lambda note: None) -> np.ndarray:
    """A network's answer to a photo, uint8 [scale H, scale W, 3 or 1], from what it was trained to see, made from the
    photo. Networks that allow it see large photos in tiles, whose answers are those of the whole photo to rounding;
    others see them reduced, and their answers are enlarged.

    Args:
        network: as `scalegan.load` returns it, from images of any size to images.
        pixels: uint8 [H, W, 3 or 1].
        said: is told which tile is next.

    Raises:
        ValueError: if the answer would be too large.
    """
    height, width = (network.scale * side for side in pixels.shape[:2])
    if height * width > _MOST_PIXELS:
        raise ValueError(f"the result would have {width:,} x {height:,} pixels, more than the limit of 2^29; reduce "
                         "the photo first")
    kind = network.about["export"]["inputs"][0]
    if kind == "lightness":
        return colourise(network, pixels, min(network.about["spec"]["shape"][-2:]))
    if network.reach is None:
        return _as_a_whole(network, pixels, kind)
    return _in_tiles(network, pixels, kind, said)


def remark(network: nn.Module, height: int, width: int) -> str | None:
    """What users should know about the answer to a photo of that size, or None."""
    if network.about["export"]["inputs"][0] == "lightness":
        return None
    if network.reach is None:
        return ("the network normalises over the whole photo, and so saw it reduced to at most "
                f"{_LONGEST_PIXELS:,} px; its answer was enlarged") if max(height, width) > _LONGEST_PIXELS else None
    if tiles.are_exact(network) or len(tiles.cuts(network, max(height, width))) == 1:
        return None
    return (f"its tiles overlapped by less than the {network.reach} px that the network looks around, so the answer "
            "may differ slightly from that to the whole photo")


def _in_tiles(network: nn.Module, pixels: np.ndarray, kind: str, said: Callable[[str], None]) -> np.ndarray:
    rows, columns = (tiles.cuts(network, side) for side in pixels.shape[:2])
    if len(rows) == len(columns) == 1:
        return _bytes_of(_answer(network, _photo(pixels), kind))
    scale, whole = network.scale, None
    for number, (row, column) in enumerate((row, column) for row in rows for column in columns):
        said(f"tile {number + 1} of {len(rows) * len(columns)}")
        part = _bytes_of(_answer(network, _photo(pixels[row.seen, column.seen]), kind))
        if whole is None:
            whole = np.empty((*(scale * side for side in pixels.shape[:2]), part.shape[2]), np.uint8)
        whole[_times(row.place, scale), _times(column.place, scale)] = \
            part[_times(row.kept, scale), _times(column.kept, scale)]
    return whole


def _as_a_whole(network: nn.Module, pixels: np.ndarray, kind: str) -> np.ndarray:
    photo, size = _photo(pixels), pixels.shape[:2]
    if max(size) > _LONGEST_PIXELS:
        share = min(_LONGEST_PIXELS / max(size), math.sqrt(_REDUCED_PIXELS / math.prod(size)))
        photo = F.interpolate(photo, [max(1, round(side * share)) for side in size], mode="bicubic", antialias=True)
    answer, size = _answer(network, photo, kind), [network.scale * side for side in size]
    return _bytes_of(answer if list(answer.shape[2:]) == size else F.interpolate(answer, size, mode="bicubic"))


def _answer(network: nn.Module, photo: Tensor, kind: str) -> Tensor:
    """The network's answer to [1, 3 or 1, H, W], on the CPU."""
    channels = _channels(network)
    if kind in _MADE or channels == 1:
        seen = DERIVED[kind if kind in _MADE else "grey"].make(photo)
    else:
        seen = photo.expand(-1, channels, -1, -1)
    return network(seen.to(next(network.parameters()).device)).float().cpu()


def _channels(network: nn.Module) -> int:
    """Channels of the images that a network takes. One that first turns squares of pixels into channels has four or
    sixteen times as many in its first convolution."""
    first = next(layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return 1 if first % 3 else 3


def _photo(pixels: np.ndarray) -> Tensor:
    return from_levels(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])


def _bytes_of(images: Tensor) -> np.ndarray:
    return to_uint8(images)[0].permute(1, 2, 0).numpy()


def _times(part: slice, scale: int) -> slice:
    return slice(scale * part.start, scale * part.stop)


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
