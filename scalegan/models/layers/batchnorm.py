"""Batch normalisation over fixed groups of samples, whatever the number of ranks (Ioffe & Szegedy, 2015)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan import kernels
from scalegan.models.layers.tracked import Tracked


class GroupedBatchNorm(Tracked):
    """BatchNorm whose statistics are those of `norm_group` consecutive samples of the global batch.

    This is what BatchNorm on `norm_group` samples per GPU computes, made explicit: it depends neither on the
    number of ranks nor on gradient accumulation. In eval mode the running statistics are used.

    Args:
        channels: C of the input [N, C, ...].
        norm_group: samples per group, or "batch" for the statistics of the whole global batch.
        affine: learn gain and bias; a class-conditional norm has its own and sets False.

    If a rank holds only part of a group, the engine sets `spanning`: a function that sums a tensor over the ranks that
    share the group, differentiable twice (torch's SyncBatchNorm is not, and needs a GPU).
    """

    def __init__(self, channels: int, norm_group: int | str = 16, eps: float = 1e-5, momentum: float = 0.1,
                 affine: bool = True) -> None:
        super().__init__()
        self.norm_group, self.eps, self.momentum = norm_group, eps, momentum
        self.statistics = {"mean": (channels,), "var": (channels,)}
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.spanning: Callable[[Tensor], Tensor] | None = None
        self.spanned_ranks = 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if self.spanning is not None:
            return self._over_ranks(x)
        groups = self._num_groups(x)
        if groups == 1:
            return self._one_group(x)
        if kernels.on_gpu(x):
            return self._side_by_side(x, groups)
        return torch.cat([self._one_group(group) for group in x.split(self.norm_group)])

    def _num_groups(self, x: Tensor) -> int:
        if self.norm_group == "batch" or len(x) <= self.norm_group:
            return 1
        if len(x) % self.norm_group:
            raise ValueError(f"{len(x)} samples cannot be cut into norm groups of {self.norm_group}; "
                             "choose a micro_batch_size that model.norm_group divides")
        return len(x) // self.norm_group

    def _one_group(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean.new_zeros(2, x.shape[1])
        out = F.batch_norm(x, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        self.observe(mean=mean, var=var)
        return out

    def _side_by_side(self, x: Tensor, groups: int) -> Tensor:
        """All groups at once, as channels of one batch: on a GPU, a launch costs more than moving the features."""
        n, channels = len(x) // groups, x.shape[1]
        wide = x.movedim(1, -1).unflatten(0, (groups, n)).movedim(0, -2).flatten(-2)   # [n, H, W, groups * C]
        mean, var = self.running_mean.new_zeros(2, groups * channels)
        weight, bias = (None if each is None else each.repeat(groups) for each in (self.weight, self.bias))
        wide = F.batch_norm(wide.movedim(-1, 1), mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps)
        for of_mean, of_var in zip(mean.view(groups, channels), var.view(groups, channels)):
            self.observe(mean=of_mean, var=of_var)
        out = wide.movedim(1, -1).unflatten(-1, (groups, channels)).movedim(-2, 0).flatten(0, 1).movedim(-1, 1)
        return out

    def _over_ranks(self, x: Tensor) -> Tensor:
        axes = [0, *range(2, x.dim())]
        count = x.numel() / x.shape[1] * self.spanned_ranks
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean = self.spanning(wide.sum(axes)) / count
        centred = wide - self._per_channel(mean, x)
        var = self.spanning(centred.square().sum(axes)) / count
        self.observe(mean=mean, var=var * (count / max(count - 1, 1)))
        out = centred * self._per_channel((var + self.eps).rsqrt(), x)
        if self.weight is not None:
            out = out * self._per_channel(self.weight, x) + self._per_channel(self.bias, x)
        return out.to(x.dtype)

    @staticmethod
    def _per_channel(vector: Tensor, like: Tensor) -> Tensor:
        return vector.reshape(1, -1, *[1] * (like.dim() - 2))

    def advance(self, mean: Tensor, var: Tensor) -> None:
        running = [self.running_mean, self.running_var]
        torch._foreach_lerp_(running, [mean.to(running[0].dtype), var.to(running[1].dtype)], self.momentum)
