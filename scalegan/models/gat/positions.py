"""Positions of tokens: fixed sines and cosines, and the rotation of queries and keys (Su et al., 2021)."""

import torch
from torch import Tensor

_BASE = 10_000.0        # wavelengths are 2 pi to 2 pi times this, in patches

Rotation = tuple[Tensor, Tensor]        # cosines and sines, [tokens, head width] each


def sinusoids(grid: tuple[int, int], width: int, like: Tensor) -> Tensor:
    """Sines and cosines of each token's column, then of its row: [tokens, width], in the type and place of `like`."""
    rows, columns = (along * _rates(width // 4, like) for along in _places(grid, like))
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], 1)


def rotation(grid: tuple[int, int], head_width: int, like: Tensor) -> Rotation:
    """Angles of pairs of a head's features: the first half by the token's row, the second by its column."""
    rates = _rates(head_width // 4, like).repeat_interleave(2)
    angles = torch.cat([along * rates for along in _places(grid, like)], 1)
    return angles.cos(), angles.sin()


def rotated(x: Tensor, by: Rotation) -> Tensor:
    """Queries or keys [N, heads, tokens, head width], rotated; tokens before those of the image stay as they are."""
    cosines, sines = by
    first = x.shape[2] - cosines.shape[0]
    kept, turned = x[:, :, :first], x[:, :, first:]
    even, odd = turned.unflatten(3, (-1, 2)).unbind(4)
    quarter_turn = torch.stack([-odd, even], 4).flatten(3)
    turned = (turned * cosines + quarter_turn * sines).to(x.dtype)
    return torch.cat([kept, turned], 2) if first else turned


def _rates(count: int, like: Tensor) -> Tensor:
    """Angles per patch, from 1 down to 1 / 10,000."""
    return _BASE ** (-torch.arange(count, device=like.device, dtype=like.dtype) / count)


def _places(grid: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every token, [tokens, 1] each, row by row."""
    rows, columns = (torch.arange(side, device=like.device, dtype=like.dtype) for side in grid)
    return rows.repeat_interleave(grid[1])[:, None], columns.repeat(grid[0])[:, None]
