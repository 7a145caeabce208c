"""Label embeddings."""

import torch
from torch import Tensor, nn

from scalegan.models.layers.conditions import check_labels, embed


class LabelEmbedding(nn.Module):
    """Class indices [N], or 0/1 attributes [N, num_classes] if `multilabel`, to [N, dim].

    Attributes give the sum of the rows that are set.
    """

    def __init__(self, num_classes: int, dim: int, multilabel: bool = False) -> None:
        super().__init__()
        self.num_classes, self.multilabel = num_classes, multilabel
        self.weight = nn.Parameter(torch.empty(num_classes, dim))

    def forward(self, labels: Tensor | None) -> Tensor:
        if labels is not None and labels.dim() != 1 + self.multilabel:
            kind = f"attributes [N, {self.num_classes}]" if self.multilabel else "class indices [N]"
            raise ValueError(f"this model takes {kind}, not {labels.dtype} {list(labels.shape)}")
        return embed(check_labels(labels, self.num_classes, 0 if labels is None else labels.shape[0]), self.weight)
