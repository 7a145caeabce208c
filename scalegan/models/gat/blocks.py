"""Transformer blocks of G, which w modulates, and of D."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.gat.positions import Rotation, rotated

_EPS = 1e-6
_LAYER_SCALE = 0.1      # of D's branches, at the start


class Attention(nn.Module):
    """Self-attention with normalised (Henry et al., 2020) and rotated queries and keys: [N, tokens, width], kept.

    `fused` uses PyTorch's fused kernels, which cannot be differentiated twice.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.fused = heads, False
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def forward(self, x: Tensor, positions: Rotation) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = (rotated(norm(part.to(norm.weight.dtype)), positions).to(v.dtype)
                for norm, part in ((self.q_norm, q), (self.k_norm, k)))
        if self.fused:
            found = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
            found = scores.softmax(3).to(v.dtype) @ v
        return self.out(found.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """A gated layer (Shazeer, 2020) with as many weights as an ordinary one of 4 * width units: two thirds of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(width, 2 * (8 * width // 3)), nn.Linear(8 * width // 3, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.inner(x).chunk(2, 2)
        return self.out(F.silu(gate) * value)


class ModulatedBlock(nn.Module):
    """A block of G: w [N, width] scales the normalised input of both branches, and gates what they add."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(width, heads), SwiGLU(width)
        self.modulation = nn.Linear(width, 4 * width)

    def forward(self, x: Tensor, w: Tensor, positions: Rotation) -> Tensor:
        scale, gate, mlp_scale, mlp_gate = self.modulation(F.silu(w))[:, None].chunk(4, 2)
        x = x + gate * self.attention(_normalised(x) * (1 + scale), positions)
        return x + mlp_gate * self.mlp(_normalised(x) * (1 + mlp_scale))


class Output(nn.Module):
    """What a part of G draws: tokens [N, tokens, width], w [N, width] -> patches [N, tokens, values]."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.linear, self.modulation = nn.Linear(width, values), nn.Linear(width, width)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.linear(_normalised(x) * (1 + self.modulation(F.silu(w))[:, None]))


class Block(nn.Module):
    """A block of D, whose branches are scaled by learned gains (Touvron et al., 2021)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(width, eps=_EPS), Attention(width, heads)
        self.mlp_norm, self.mlp = nn.RMSNorm(width, eps=_EPS), SwiGLU(width)
        self.gain, self.mlp_gain = (nn.Parameter(torch.full((width,), _LAYER_SCALE)) for _ in range(2))

    def forward(self, x: Tensor, positions: Rotation) -> Tensor:
        x = x + self.gain * self.attention(self.norm(x), positions)
        return x + self.mlp_gain * self.mlp(self.mlp_norm(x))


def grid_of(shape: tuple[int, ...], patch: int, width: int, heads: int) -> tuple[int, int]:
    """Rows and columns of patches in samples [C, H, W].

    Raises:
        ValueError: for sides that patches do not divide, or widths that heads and positions do not.
    """
    _, height, across = shape
    if height % patch or across % patch:
        raise ValueError(f"patches of {patch} do not divide samples of {across} x {height}; set model.patch to a "
                         "divisor of both sides")
    if width % (4 * heads):
        raise ValueError(f"model.width={width} is not a multiple of four times model.heads={heads}; change one of them")
    return height // patch, across // patch


def _normalised(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=_EPS)
