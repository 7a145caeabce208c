"""The filter [1, 3, 3, 1] in both directions; see `scalegan.kernels.fir`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024       # numbers that a program computes: pixels of one row, times channels


def fir(x: Tensor, out_height: int, out_width: int, up: int, down: int, padding: int, scale: float) -> Tensor:
    n, channels, height, width = x.shape
    found = x.new_empty(n, out_height, out_width, channels)
    together = min(triton.next_power_of_2(channels), 128)
    pixels = _BLOCK // together
    grid = n * out_height, triton.cdiv(out_width, pixels), triton.cdiv(channels, together)
    if found.numel():
        with torch.cuda.device_of(x):
            _fir[grid](x, found, channels, height, width, out_height, out_width, scale, PADDING=padding, UP=up,
                       DOWN=down, PIXELS=pixels, CHANNELS=together)
    return found.permute(0, 3, 1, 2)


@triton.jit
def _fir(x, found, channels, height, width, out_height, out_width, scale, PADDING: tl.constexpr, UP: tl.constexpr,
         DOWN: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    row, image = tl.program_id(0) % out_height, tl.program_id(0) // out_height
    column = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)[:, None]
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    x += image.to(tl.int64) * height * width * channels + channel
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for i in tl.static_range(4 // UP):
        above, of_row = _tap(row, i, PADDING, UP, DOWN)
        for j in tl.static_range(4 // UP):
            left, of_column = _tap(column, j, PADDING, UP, DOWN)
            inside = (above >= 0) & (above < height) & (left >= 0) & (left < width) & (channel < channels)
            value = tl.load(x + (above * width + left) * channels, mask=inside, other=0).to(tl.float32)
            total += value * (of_row * of_column)
    place = (tl.program_id(0).to(tl.int64) * out_width + column) * channels + channel
    inside = (column < out_width) & (channel < channels)
    tl.store(found + place, (total * scale).to(found.dtype.element_ty), mask=inside)


@triton.jit
def _tap(place, tap: tl.constexpr, PADDING: tl.constexpr, UP: tl.constexpr, DOWN: tl.constexpr):
    """The input pixel under a tap of an output pixel, and its weight."""
    if UP == 2:     # every second tap meets an inserted zero, so two of 1, 3, 3, 1 remain
        return (place + 1) // 2 - 1 + tap, tl.where(place % 2 == tap, 1.0, 3.0)
    else:
        return place * DOWN + tap - PADDING, place * 0.0 + (3.0 if tap == 1 or tap == 2 else 1.0)
