"""Draws by Philox4x32-10 in one kernel; see `scalegan.kernels.philox`, which says what they are."""

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256
_UNIFORM, _NORMAL, _INTEGERS = 0, 1, 2
_KINDS = {"uniform": _UNIFORM, "normal": _NORMAL, "integers": _INTEGERS}


def draw(kind: str, keys: Sequence[int], sizes: Sequence[int], blocks: Sequence[int], positions: Tensor,
         high: int) -> Tensor:
    """Draws end to end, [n * sum(sizes)].

    Args:
        keys: of 64 bits, as signed integers.
        blocks: Philox blocks of four words a sample, by key; of normal draws, those that give radii.
    """
    n, positions = len(positions), positions.contiguous()
    dtype = torch.int64 if kind == "integers" else torch.float32
    out = positions.new_empty(n * sum(sizes), dtype=dtype)
    if out.numel():
        with torch.cuda.device_of(positions):
            grid = triton.cdiv(n * max(blocks), _BLOCK), len(keys)
            _draw[grid](out, positions, _table(tuple(keys), tuple(sizes), tuple(blocks), positions.device), n, high,
                        KIND=_KINDS[kind], BLOCK=_BLOCK)
    return out


@functools.cache        # not bounded: a CUDA graph reads them where they lie
def _table(keys: tuple[int, ...], sizes: tuple[int, ...], blocks: tuple[int, ...], device: torch.device) -> Tensor:
    """(key, size, numbers per sample before it, blocks) of each draw. A run has few of them: keys are of names."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    with torch.inference_mode(False):
        return torch.tensor(list(zip(keys, sizes, starts, blocks)), device=device)


@triton.jit(do_not_specialize=["n", "high"])
def _draw(out, positions, table, n, high, KIND: tl.constexpr, BLOCK: tl.constexpr):
    """A program makes some of the blocks of one draw: those of a sample beside each other, then the next sample's."""
    row_of_table = table + 4 * tl.program_id(1)
    key, size = tl.load(row_of_table), tl.load(row_of_table + 1)
    start, blocks = tl.load(row_of_table + 2), tl.load(row_of_table + 3)
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    sample, block = index // blocks, index % blocks
    inside = sample < n
    position = tl.load(positions + sample, mask=inside, other=0)
    low, upper = (position & 0xFFFFFFFF).to(tl.uint32), ((position >> 32) & 0xFFFFFFFF).to(tl.uint32)
    counter, none = block.to(tl.uint32), low * 0
    a, b, c, d = tl.philox(key, counter, none, low, upper)
    out += start * n + sample * size
    if KIND == 0:
        _store(out, 4 * block, size, inside, _uniform(a), _uniform(b), _uniform(c), _uniform(d))
    elif KIND == 1:
        e, f, g, h = tl.philox(key, (block + blocks).to(tl.uint32), none, low, upper)
        a, b, c, d = _radius(a), _radius(b), _radius(c), _radius(d)
        e, f, g, h = _angle(e), _angle(f), _angle(g), _angle(h)
        _store(out, 4 * block, size, inside, a * tl.cos(e), b * tl.cos(f), c * tl.cos(g), d * tl.cos(h))
        _store(out, 4 * (block + blocks), size, inside, a * tl.sin(e), b * tl.sin(f), c * tl.sin(g), d * tl.sin(h))
    else:
        high = high.to(tl.int64)
        _store(out, 4 * block, size, inside, (a.to(tl.int64) * high) >> 32, (b.to(tl.int64) * high) >> 32,
               (c.to(tl.int64) * high) >> 32, (d.to(tl.int64) * high) >> 32)


@triton.jit
def _uniform(word):
    return (word >> 8).to(tl.float32) * (1 / 16777216)


@triton.jit
def _unit(word):
    """In (0, 1), float64, without rounding."""
    return (word.to(tl.float64) + 0.5) * (1 / 4294967296)


@triton.jit
def _radius(word):
    return tl.sqrt(tl.log(_unit(word)) * -2)


@triton.jit
def _angle(word):
    return _unit(word) * 6.283185307179586


@triton.jit
def _store(row, column, size, inside, a, b, c, d):
    kind = row.dtype.element_ty
    tl.store(row + column, a.to(kind), mask=inside & (column < size))
    tl.store(row + column + 1, b.to(kind), mask=inside & (column + 1 < size))
    tl.store(row + column + 2, c.to(kind), mask=inside & (column + 2 < size))
    tl.store(row + column + 3, d.to(kind), mask=inside & (column + 3 < size))
