"""Self-attention over pixels (Zhang et al., 2019), as in SAGAN's and BigGAN's code."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.half import wide_dtype
from scalegan.models.layers.spectral import Conv2d


class SelfAttention(nn.Module):
    """x + gamma * o(softmax(theta phi^T) g), with phi and g pooled to a quarter of the pixels; gamma starts at 0.

    The inner widths C/8 and C/2 and the pooling are those of the published code, not of the paper's text.
    """

    def __init__(self, channels: int, spectral: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        if channels < 8:
            raise ValueError(f"attention needs at least 8 channels, not {channels}; increase model.width")
        options = dict(kernel=1, bias=False, spectral=spectral, eps=eps)
        self.theta = Conv2d(channels, channels // 8, **options)
        self.phi = Conv2d(channels, channels // 8, **options)
        self.g = Conv2d(channels, channels // 2, **options)
        self.o = Conv2d(channels // 2, channels, **options)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        queries = _pixels(self.theta(x))                                  # [N, HW, C/8]
        keys = _pixels(F.max_pool2d(self.phi(x), 2))                      # [N, HW/4, C/8]
        values = _pixels(F.max_pool2d(self.g(x), 2))                      # [N, HW/4, C/2]
        scores = torch.bmm(queries, keys.transpose(1, 2))                 # [N, HW, HW/4]
        out = torch.bmm(torch.softmax(scores, -1, dtype=wide_dtype(scores)).to(values.dtype), values)
        out = out.transpose(1, 2).unflatten(2, x.shape[2:])               # [N, C/2, H, W], channels_last
        return x + self.gamma.to(x.dtype) * self.o(out)


def _pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, HW, C], without a copy if x is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
