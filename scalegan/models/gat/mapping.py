"""From latents and labels to w, its moving averages, and guidance."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.conditions import check_labels
from scalegan.models.layers.half import wide_dtype, without_autocast
from scalegan.models.layers.labels import LabelEmbedding
from scalegan.models.layers.tracked import Tracked


class SlowLinear(nn.Module):
    """A linear layer [N, in] -> [N, out] that learns at `lr_multiplier` times the rate of others, because its weights
    are stored divided by it (Karras et al., 2019)."""

    def __init__(self, in_features: int, out_features: int, lr_multiplier: float = 0.01) -> None:
        super().__init__()
        self.lr_multiplier = lr_multiplier
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.lr_multiplier, self.bias * self.lr_multiplier)


class Mapping(Tracked):
    """z [N, latent_dim] and labels to w [N, width], by two layers; z alone or, if latent_dim is 0, labels alone.

    `w_avg` is a moving average of w, of each class [classes, width], otherwise [1, width]; it advances once per update
    by the mean over those samples of the whole batch that are of the class. `psi` below 1 moves w towards it; guidance
    other than 1 moves it from the mean over all classes: w_null + s (w - w_null).

    Args:
        by_class: labels are indices, not rows.
        w_avg_beta: decay of `w_avg` per update.
    """

    def __init__(self, latent_dim: int, num_classes: int, by_class: bool, label_dim: int, width: int,
                 w_avg_beta: float) -> None:
        super().__init__()
        self.latent_dim, self.num_classes, self.by_class = latent_dim, num_classes, by_class and num_classes > 0
        self.w_avg_beta = w_avg_beta
        self.labels = LabelEmbedding(num_classes, label_dim, not by_class) if num_classes else None
        inputs = latent_dim + (label_dim if num_classes else 0)
        self.layers = nn.ModuleList([SlowLinear(inputs, width), SlowLinear(width, width)])
        self.statistics = {"sums": (self.rows, width), "shares": (self.rows,)}
        self.register_buffer("w_avg", torch.zeros(self.rows, width))

    @property
    def rows(self) -> int:
        """Number of averages."""
        return self.num_classes if self.by_class else 1

    def forward(self, z: Tensor, labels: Tensor | None, psi: float = 1.0, guidance: float = 1.0) -> Tensor:
        labels = check_labels(labels, self.num_classes, z.shape[0])
        with without_autocast(z):
            z = z.to(wide_dtype(self.layers[0].weight))
            w = self._mapped(z, labels)
            if self.training:
                self._observe(w, labels)
            if psi != 1:
                w = self.w_avg[labels.to(w.device) if self.by_class else [0]].to(w).lerp(w, psi)
            return w if guidance == 1 else self._null(z).lerp(w, guidance)

    def _mapped(self, z: Tensor, labels: Tensor | None) -> Tensor:
        parts = [] if labels is None else [_unit(self.labels(labels))]
        parts += [_unit(z)] if self.latent_dim else []
        first, second = self.layers
        return second(F.silu(first(torch.cat(parts, 1))))

    def _observe(self, w: Tensor, labels: Tensor | None) -> None:
        """Sums of w by class and shares of the classes, both over the samples seen."""
        of_class = F.one_hot(labels.to(w.device), self.rows).to(w) if self.by_class else w.new_ones(len(w), 1)
        self.observe(sums=of_class.T @ w.detach() / len(w), shares=of_class.mean(0))

    def _null(self, z: Tensor) -> Tensor:
        """The mean of w over all classes, for each z: [N, width]."""
        if not self.by_class:
            raise ValueError("guidance is away from the mean over classes, and this model has none; leave it at 1")
        every = torch.arange(self.num_classes, device=z.device).repeat(len(z))
        return self._mapped(z.repeat_interleave(self.num_classes, 0), every).unflatten(0, (len(z), -1)).mean(1)

    @torch.no_grad()
    def advance(self, sums: Tensor, shares: Tensor) -> None:
        means = (sums / shares.clamp(min=1e-12)[:, None]).to(self.w_avg)
        self.w_avg.copy_(torch.where((shares > 0)[:, None], self.w_avg.lerp(means, 1 - self.w_avg_beta), self.w_avg))


def _unit(x: Tensor) -> Tensor:
    """Each row scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
