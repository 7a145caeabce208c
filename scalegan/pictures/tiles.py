"""Tiles of large photos, whose answers are those of the whole photo."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

_STEP = 1024        # side of what a tile adds to the answer, in pixels of the answer
_FARTHEST = 1024    # the same for the overlap of tiles, up to which they are exact: it bounds the memory
_LARGEST = 1920     # side of the tiles, in pixels of the answer, of networks that look further,
_NEAR = 64          # and their overlap, in pixels of the photo
_FURTHER = 1        # pixels that edges, as a kind of input, look further than the network


class Cut(NamedTuple):
    """Part of a photo's rows or columns: what the network sees; what is kept of its answer, relative to that; and the
    place of that in the photo."""

    seen: slice
    kept: slice
    place: slice


def are_exact(network: nn.Module) -> bool:
    """Whether tiles overlap by all that an answer depends on. `network` has a `reach`."""
    return network.reach * network.scale <= _FARTHEST


def cuts(network: nn.Module, length: int) -> list[Cut]:
    """Cuts one side of a photo into what tiles see. Cuts are at multiples of `network.multiple`, so that strided layers
    fall on the same pixels as in the whole photo; at its own edges the network pads as it does for the whole."""
    multiple = network.multiple
    if are_exact(network):
        step, overlap = _multiple(_STEP // network.scale, multiple), _multiple(network.reach + _FURTHER, multiple)
    else:
        overlap = _multiple(_NEAR, multiple)
        step = max(multiple, (_LARGEST // network.scale - 2 * overlap) // multiple * multiple)
    if length <= step + 2 * overlap:
        return [Cut(slice(0, length), slice(0, length), slice(0, length))]
    return list(_cut(length, step, overlap))


def _cut(length: int, step: int, overlap: int) -> Iterator[Cut]:
    for start in range(0, length, step):
        end = min(start + step, length)
        first, last = max(0, start - overlap), min(length, end + overlap)
        yield Cut(slice(first, last), slice(start - first, end - first), slice(start, end))


def _multiple(pixels: int, of: int) -> int:
    """The next multiple up."""
    return -(-pixels // of) * of
