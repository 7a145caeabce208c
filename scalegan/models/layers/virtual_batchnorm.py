"""Virtual batch normalisation (Salimans et al., 2016, section 3.5)."""

import torch
from torch import Tensor, nn


class VirtualBatchNorm(nn.Module):
    """Normalises each sample by the statistics of a fixed reference batch and itself, independently of other samples.

    The input's first `reference` rows are the reference batch, which passes through the network with the others. It is
    normalised by its own statistics, a sample x by those of the reference batch with x added to it.

    Args:
        channels: C of the input [reference + N, C, ...].
        reference: size of the reference batch.
    """

    def __init__(self, channels: int, reference: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reference, self.eps = reference, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)                                                    # [reference + N, C, pixels]
        flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        means, squares = flat.mean(2), flat.square().mean(2)                   # of each row: [reference + N, C]
        of_reference = [moment[: self.reference].mean(0, keepdim=True) for moment in (means, squares)]
        share = 1 / (self.reference + 1)
        mean, square = (torch.cat([virtual.expand(self.reference, -1),
                                   virtual * (1 - share) + moment[self.reference :] * share])
                        for virtual, moment in zip(of_reference, (means, squares)))
        scale = (square - mean.square() + self.eps).rsqrt() * self.weight
        shape = (*mean.shape, *[1] * (x.dim() - 2))
        return (x * scale.view(shape) + (self.bias - mean * scale).view(shape)).to(x.dtype)
