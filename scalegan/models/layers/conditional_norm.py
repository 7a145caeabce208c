"""BatchNorm whose gain and bias depend on the class (Dumoulin et al., 2017; de Vries et al., 2017)."""

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm


class ConditionalBatchNorm(nn.Module):
    """The normalised x times 1 + gain(condition), plus bias(condition).

    Args:
        channels: C of the input [N, C, H, W].
        gain, bias: modules that turn the condition into [N, C].
        norm_group, eps: see `GroupedBatchNorm`.
    """

    def __init__(self, channels: int, gain: nn.Module, bias: nn.Module, norm_group: int | str = 16,
                 eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = GroupedBatchNorm(channels, norm_group, eps, affine=False)
        self.gain, self.bias = gain, bias

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.norm(x)
        gain = (1 + self.gain(condition)).to(x.dtype)[:, :, None, None]
        bias = self.bias(condition).to(x.dtype)[:, :, None, None]
        return torch.addcmul(bias, x, gain)
