"""Minibatch standard deviation (Karras et al., 2018, section 3)."""

import torch
from torch import Tensor


def minibatch_stddev(x: Tensor, group: int, channels: int = 1) -> Tensor:
    """Appends the deviation over groups of samples as constant planes: [N, C, H, W] -> [N, C + channels, H, W].

    Defined over the given block: its N samples form N / min(group, N) groups, strided as in the reference (sample i is
    in group i mod N/group). It is not a mean over samples, so training passes blocks of exactly `group`.
    """
    n, c, h, w = x.shape
    size = min(group, n)
    if n % size:
        raise ValueError(f"{n} samples cannot be cut into minibatch-stddev groups of {size}; "
                         "choose a batch that model.mbstd_group divides")
    y = x.reshape(size, n // size, channels, c // channels, h, w)
    y = (y - y.mean(0)).square().mean(0)                # variance over each group: [N/G, channels, C/channels, H, W]
    y = (y + 1e-8).sqrt().mean([2, 3, 4])               # [N/G, channels]
    planes = y[:, :, None, None].repeat(size, 1, h, w)  # [N, channels, H, W]
    return torch.cat([x, planes], dim=1)
