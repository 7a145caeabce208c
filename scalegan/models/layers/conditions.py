"""Class indices, attributes and vectors as conditions."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


def check_labels(labels: Tensor | None, num_classes: int, samples: int) -> Tensor | None:
    """Checks labels of `samples` images: indices [N], or attributes [N, K] with K = num_classes, such as one-hot rows;
    vectors of length K are as attributes that are not 0 or 1.

    With a single class, labels may be None. Values of indices are not checked on a GPU, which would synchronise, nor in
    tensors without data.
    """
    if num_classes == 0:
        if labels is not None and labels.shape[1:] != (0,):
            raise ValueError("labels were given to an unconditional model; leave them out, or set model.num_classes")
        return None
    if labels is None:
        if num_classes == 1:
            return torch.zeros(samples, dtype=torch.long)
        raise ValueError(f"this model is conditional on {num_classes} classes and needs labels")
    if labels.shape == (samples, num_classes):
        return labels if labels.is_floating_point() else labels.float()
    if labels.shape != (samples,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be {samples} class indices [N] or attributes [N, {num_classes}], "
                         f"not {labels.dtype} {list(labels.shape)}")
    without_data = torch.compiler.is_compiling() or isinstance(labels, FakeTensor)
    if labels.device.type == "cpu" and samples and not without_data:
        low, high = labels.aminmax()
        if low < 0 or high >= num_classes:
            wrong = int(low if low < 0 else high)
            raise ValueError(f"label {wrong} is out of range: this model has classes 0 to {num_classes - 1}")
    return labels.long()


def check_vectors(vectors: Tensor | None, vector_dim: int, samples: int) -> Tensor:
    """Raises ValueError unless there is a vector for each of `samples` images: float [N, vector_dim]."""
    if vectors is None or vectors.shape != (samples, vector_dim) or not vectors.is_floating_point():
        found = "none" if vectors is None else f"{vectors.dtype} {list(vectors.shape)}"
        raise ValueError(f"this model takes a vector for each image, [{samples}, {vector_dim}], not {found}")
    return vectors


def embed(labels: Tensor, table: Tensor) -> Tensor:
    """Rows of the table [K, D] for indices [N]; their weighted sum for attributes or vectors [N, K]: -> [N, D]."""
    if labels.is_floating_point():
        return labels.to(table.dtype) @ table
    return F.embedding(labels.to(table.device), table)
