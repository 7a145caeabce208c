"""Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and the draws made from it.

CPUs run it as integer array operations, some 140 per draw; GPUs as the operator `scalegan::philox`, which makes any
number of draws in one kernel. Words are the same everywhere, and so are uniform and integer draws. Normal draws are
computed in float64 and then rounded: log, sin and cos may differ in the last of its 53 bits between a CPU, a GPU and
PyTorch's own kernels, so that one draw in hundreds of millions differs in the last bit of its float32. On one device, a
sample's draws depend on its key and position alone, whatever else is in the batch.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalegan import kernels
from scalegan.support.devices import has_float64

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
# Draws per sample are padded to whole vector registers: log and cos of an element can differ in the last bit
# between a vectorised loop and its scalar tail, and a sample's place in the batch must not matter.
_PAD = 32


def padded(size: int) -> int:
    """Words per sample that a draw of `size` numbers takes; for normal draws, the second half are angles."""
    return -(-max(size, 1) // _PAD) * _PAD


def words(key: int, positions: Tensor, blocks: int) -> Tensor:
    """Random 32-bit integers, as int64 [n, 4 * blocks]: row i belongs to `positions[i]` (int64 [n]) alone."""
    # NumPy starts an operation on the CPU several times faster than torch, and there are 140 small ones.
    on_cpu = positions.device.type == "cpu"
    low, high = positions & _LOW, (positions >> 32) & _LOW
    block = torch.arange(blocks, device=positions.device)
    if on_cpu:
        low, high, block = low.numpy(), high.numpy(), block.numpy()
    none = low[:, None] * 0 + block[None] * 0
    found = _rounds(key, none + block[None], none + low[:, None], none + high[:, None])
    if on_cpu:
        return torch.from_numpy(np.stack(found, axis=-1).reshape(len(positions), 4 * blocks))
    return torch.stack(found, dim=-1).reshape(len(positions), 4 * blocks)


def _rounds(key: int, c0: Any, c2: Any, c3: Any) -> list[Any]:
    """Ten rounds over counters (c0, 0, c2, c3), int64 arrays or tensors that hold 32 bits each."""
    c1 = c0 * 0
    k0, k1 = key & _LOW, (key >> 32) & _LOW
    for _ in range(10):
        # The product of two 32-bit numbers wraps into int64's sign; shifting and masking still gives its halves.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, p1 & _LOW, ((p0 >> 32) & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def draw(kind: str, keys: Sequence[int], sizes: Sequence[int], positions: Tensor, high: int = 0) -> list[Tensor]:
    """A draw for each key, [n, size], in one kernel on a GPU.

    Args:
        kind: "uniform" in [0, 1), "normal", or "integers" from 0 to `high` - 1; integers are int64, the others float32.
        keys: unsigned, of 64 bits.
        sizes: numbers per sample, by key.
        positions: the samples' positions, int64 [n].
    """
    if not has_float64(positions.device):      # the CPU's draws, bit for bit
        return [drawn.to(positions.device) for drawn in draw(kind, keys, sizes, positions.cpu(), high)]
    if not kernels.on_gpu(positions):
        return [_plain(kind, key, size, positions, high) for key, size in zip(keys, sizes)]
    signed = [key - 2**64 if key >= 2**63 else key for key in keys]
    flat, n = _fused(kind, signed, list(sizes), positions, high), len(positions)
    return [part.view(n, size) for part, size in zip(flat.split([n * size for size in sizes]), sizes)]


def _plain(kind: str, key: int, size: int, positions: Tensor, high: int) -> Tensor:
    """The reference, [n, size]."""
    bits = words(key, positions, padded(size) // 4)
    if kind == "integers":
        return ((bits * high) >> 32)[:, :size]
    if kind == "uniform":
        return ((bits >> 8).float() * 2.0**-24)[:, :size]
    u = (bits.double() + 0.5) * 2.0**-32                # normal (Box & Muller, 1958)
    half = u.shape[1] // 2
    radius = (u[:, :half].log() * -2).sqrt()
    angle = u[:, half:] * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1).float()[:, :size]


def _empty(kind: str, keys: list[int], sizes: list[int], positions: Tensor, high: int) -> Tensor:
    dtype = torch.int64 if kind == "integers" else torch.float32
    return positions.new_empty(len(positions) * sum(sizes), dtype=dtype)


@kernels.operator("philox(str kind, int[] keys, int[] sizes, Tensor positions, int high) -> Tensor", _empty)
def _fused(kind: str, keys: list[int], sizes: list[int], positions: Tensor, high: int) -> Tensor:
    """The same draws, concatenated, [n * sum(sizes)]."""
    return kernels.run("philox", _in_one_kernel, _one_by_one, kind, keys, sizes, positions, high)


def _in_one_kernel(kind: str, keys: list[int], sizes: list[int], positions: Tensor, high: int) -> Tensor:
    from scalegan.kernels import philox_triton
    pairs = 2 if kind == "normal" else 1
    return philox_triton.draw(kind, keys, sizes, [padded(size) // (4 * pairs) for size in sizes], positions, high)


def _one_by_one(kind: str, keys: list[int], sizes: list[int], positions: Tensor, high: int) -> Tensor:
    return torch.cat([_plain(kind, key, size, positions, high).flatten() for key, size in zip(keys, sizes)])
