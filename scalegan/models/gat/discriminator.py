"""The discriminator."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.gat.blocks import Block, grid_of
from scalegan.models.gat.generator import patches
from scalegan.models.gat.initial import initialise, table
from scalegan.models.gat.mapping import SlowLinear
from scalegan.models.gat.positions import rotation, sinusoids
from scalegan.models.layers.conditions import check_labels
from scalegan.models.layers.half import wide_dtype, without_autocast
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.labels import LabelEmbedding
from scalegan.models.layers.slicing import LastLayer


class Discriminator(nn.Module):
    """Samples to logits, from a token that attends to all patches; labels enter by projection (Miyato & Koyama, 2018).

    The levels of a sample are joined on channels, [N, K * C, H, W]; a plain sample [N, C, H, W] stands for all levels.

    Args:
        shape, patch, depth, width, heads, num_classes, multilabel: as the generator's.
        levels: K, the generator's outputs.
        label_dim: length of the features that are multiplied with those of the label.
    """

    per_sample = True  # a logit depends on its own sample alone: reals and fakes may share a pass

    def __init__(self, shape: Sequence[int], patch: int = 2, depth: int = 12, width: int = 768, heads: int = 12,
                 levels: int = 4, label_dim: int = 2048, num_classes: int = 0, multilabel: bool = False) -> None:
        super().__init__()
        self.shape, self.patch, self.heads, self.levels = tuple(shape), patch, heads, levels
        self.num_classes, self.grid = num_classes, grid_of(self.shape, patch, width, heads)
        self.embed = nn.Linear(levels * shape[0] * patch**2, width)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, label_dim if num_classes else 1)
        self.label_map = LabelMap(num_classes, label_dim, multilabel) if num_classes else None
        self.projector: nn.Module | None = None
        self.initialise(global_generator)

    def align(self, hidden: int, features: int) -> None:
        """Adds what predicts another network's features from those of each token (Hyun et al., 2025)."""
        width = self.token.shape[2]
        self.projector = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
                                       nn.Linear(hidden, features))
        self.projector.to(self.token.device)

    def initialise(self, generator: Generators) -> None:
        """Initialises every parameter from the random generator keyed by its name."""
        initialise(self, generator)
        table(self.token, "token", generator)

    def forward(self, x: Tensor, labels: Tensor | None = None,
                features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """[N, C, H, W] or [N, K * C, H, W], [N] or [N, num_classes] -> logits [N]; with `features`, the predicted
        features of the whole [N, F] and of every patch [N, tokens, F] instead."""
        h = self._tokens(x)
        if features:
            predicted = self.projector(h).to(wide_dtype(self.token))
            return predicted[:, 0], predicted[:, 1:]
        with without_autocast(h):
            found, of_label = self.head(self.norm(h[:, 0])), self._of_label(labels, len(x))
            return found[:, 0] if of_label is None else (found * of_label).sum(1)

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        h = self._tokens(x)
        with without_autocast(h):
            h, of_label = self.norm(h[:, 0]), self._of_label(labels, len(x))
            return [LastLayer(h, self.head.weight, self.head.bias) if of_label is None else
                    LastLayer(self.head(h), of_label)]

    def _tokens(self, x: Tensor) -> Tensor:
        """Samples to [N, 1 + tokens, width], the token that becomes the logit first."""
        channels, *sides = self.shape
        if x.shape[1:] == self.shape:
            x = x.repeat(1, self.levels, 1, 1)
        if x.shape[1:] != (self.levels * channels, *sides):
            raise ValueError(f"samples must be [N, {', '.join(map(str, self.shape))}], or with {self.levels} times as "
                             f"many channels, not {list(x.shape)}")
        like = self.token.new_empty((), dtype=wide_dtype(self.token))
        h = self.embed(patches(x, self.patch)) + sinusoids(self.grid, self.token.shape[2], like)
        h = torch.cat([self.token.to(h.dtype).expand(len(h), -1, -1), h], 1)
        positions = rotation(self.grid, h.shape[2] // self.heads, like)
        for block in self.blocks:
            h = block(h, positions)
        return h

    def _of_label(self, labels: Tensor | None, samples: int) -> Tensor | None:
        """What D's features are multiplied with, [N, label_dim], or None without labels."""
        labels = check_labels(labels, self.num_classes, samples)
        return None if labels is None else self.label_map(labels)


class LabelMap(nn.Module):
    """Labels to the features that D's are multiplied with, [N, dim]: a table and two layers."""

    def __init__(self, num_classes: int, dim: int, multilabel: bool) -> None:
        super().__init__()
        self.table = LabelEmbedding(num_classes, dim, multilabel)
        self.layers = nn.ModuleList([SlowLinear(dim, dim), SlowLinear(dim, dim)])

    def forward(self, labels: Tensor) -> Tensor:
        first, second = self.layers
        return second(F.silu(first(self.table(labels))))
