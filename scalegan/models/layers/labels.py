"""Labels as vectors."""

import torch
from torch import Tensor, nn

from scalegan.models.layers.conditions import check_labels, embed


class LabelEmbedding(nn.Module):
    """Class indices [N], or where `multilabel` 0/1 attributes [N, num_classes], to [N, dim].

    Attributes give the sum of the rows of those that are set.
    """

    def __init__(self, num_classes: int, dim: int, multilabel: bool = False) -> None:
        super().__init__()
        self.num_classes, self.multilabel = num_classes, multilabel
        self.weight = nn.Parameter(torch.empty(num_classes, dim))

    def forward(self, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError(f"this model is conditional on {self.num_classes} classes and needs labels")
        if self.multilabel:
            if labels.dim() != 2 or labels.shape[1] != self.num_classes:
                raise ValueError(f"this model takes attributes [N, {self.num_classes}], "
                                 f"not {labels.dtype} {list(labels.shape)}")
            return labels.to(self.weight.dtype) @ self.weight
        if labels.dim() != 1 or labels.is_floating_point():
            raise ValueError(f"this model takes class indices [N], not {labels.dtype} {list(labels.shape)}")
        return embed(check_labels(labels, self.num_classes, len(labels)), self.weight)
