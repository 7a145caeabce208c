"""Bilinear reading and its adjoint, in fixed point; see `scalegan.kernels.bilinear`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256


def read(images: Tensor, places: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    found = images.new_empty(n, channels, *places.shape[2:])
    count = found[0, 0].numel()
    with torch.cuda.device_of(images):
        _read[triton.cdiv(count, _BLOCK), n](images.contiguous(), places.contiguous(), found, count, channels, height,
                                             width, BLOCK=_BLOCK)
    return found


def add(values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    n, channels = values.shape[:2]
    count = values[0, 0].numel()
    sums = values.new_zeros(n, channels, height, width, dtype=torch.int64)
    largest = values.abs().amax()
    # A pixel receives at most all values of its image, each below 2^bits when scaled.
    bits = 62 - count.bit_length()
    scale = torch.exp2((bits - torch.frexp(largest).exponent).double()) + largest * 0   # NaN if a value was not finite
    with torch.cuda.device_of(values):
        _add[triton.cdiv(count, _BLOCK), n](values.contiguous(), places.contiguous(), sums, scale, count, channels,
                                            height, width, BLOCK=_BLOCK)
    return (sums / scale).float()


@triton.jit
def _around(places, count, height, width, BLOCK: tl.constexpr):
    """This program's places in an image: their index, whether they exist, the pixel to their upper left, and the
    fractions of the way to the next one."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    places += tl.program_id(1).to(tl.int64) * 2 * count
    x, y = tl.load(places + place, mask=inside, other=0), tl.load(places + count + place, mask=inside, other=0)
    left = tl.minimum(tl.maximum(tl.floor(x), 0), width - 2)
    top = tl.minimum(tl.maximum(tl.floor(y), 0), height - 2)
    return place, inside, top.to(tl.int32) * width + left.to(tl.int32), x - left, y - top


@triton.jit
def _read(images, places, found, count, channels, height, width, BLOCK: tl.constexpr):
    place, inside, pixel, x, y = _around(places, count, height, width, BLOCK)
    for channel in range(channels):
        plane = tl.program_id(1).to(tl.int64) * channels + channel
        image = images + plane * height * width + pixel
        value = tl.load(image, mask=inside) * ((1 - x) * (1 - y))
        value += tl.load(image + 1, mask=inside) * (x * (1 - y))
        value += tl.load(image + width, mask=inside) * ((1 - x) * y)
        value += tl.load(image + width + 1, mask=inside) * (x * y)
        tl.store(found + plane * count + place, value, mask=inside)


@triton.jit
def _add(values, places, sums, scale, count, channels, height, width, BLOCK: tl.constexpr):
    place, inside, pixel, x, y = _around(places, count, height, width, BLOCK)
    scale = tl.load(scale)
    for channel in range(channels):
        plane = tl.program_id(1).to(tl.int64) * channels + channel
        value = tl.load(values + plane * count + place, mask=inside, other=0)
        target = sums + plane * height * width + pixel
        _add_whole(target, value * ((1 - x) * (1 - y)), scale, inside)
        _add_whole(target + 1, value * (x * (1 - y)), scale, inside)
        _add_whole(target + width, value * ((1 - x) * y), scale, inside)
        _add_whole(target + width + 1, value * (x * y), scale, inside)


@triton.jit
def _add_whole(target, value, scale, inside):
    whole = tl.floor(value.to(tl.float64) * scale + 0.5).to(tl.int64)
    tl.atomic_add(target, whole, mask=inside & (whole != 0), sem="relaxed")
