"""What a sample is, and how a game's streams are related. Imports torch only where a tensor is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """Describes the samples of a stream; networks, plans and benchmarks are built from it.

    Args:
        kind: points, images, volumes, or an encoder's latents.
        shape: of one sample: [2], [C, H, W], [1, D, H, W].
        classes: number of classes, if each sample belongs to one; 0 for none.
        attributes: number of attributes, if samples are labelled by 0/1 vectors; 0 for none.
        vector_dim: length of the vector that describes each sample; 0 for none.
        label_names: names of the classes or attributes, in order; empty if unknown. Two sets whose names differ in
            order have the same labels under different numbers.
        depth: bits per channel of the images.
        alpha: whether their last channel is alpha, and the others are over white.
    """

    kind: Literal["points", "image", "volume", "latent"]
    shape: tuple[int, ...]
    classes: int = 0
    attributes: int = 0
    vector_dim: int = 0
    label_names: tuple[str, ...] = field(default=(), compare=False)
    depth: int = field(default=8, compare=False)
    alpha: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Spec":
        """Builds a spec from its JSON form, the current one or that of format 1."""
        shape = tuple(tree["shape"])
        if "kind" in tree:
            return cls(**{**tree, "shape": shape, "label_names": tuple(tree.get("label_names", ()))})
        labels = "attributes" if tree["multilabel"] else "classes"
        return cls("points" if len(shape) == 1 else "image", shape, **{labels: tree["num_classes"]})

    @property
    def num_classes(self) -> int:
        """Number of labels, classes or attributes, that networks for these samples know; 0 for none."""
        return self.classes or self.attributes

    @property
    def multilabel(self) -> bool:
        """Whether labels are attributes, of which a sample may have several."""
        return self.attributes > 0

    @property
    def conditional(self) -> bool:
        """Whether samples have labels or vectors."""
        return bool(self.num_classes or self.vector_dim)

    def empty(self, count: int) -> "Tensor":
        """Uninitialised samples, float32 [count, *shape]."""
        import torch

        return torch.empty(count, *self.shape)

    def empty_condition(self, count: int) -> "Tensor | None":
        """All-zero conditions: int64 [count], float32 [count, K], or None."""
        import torch

        if self.classes:
            return torch.zeros(count, dtype=torch.long)
        length = self.attributes or self.vector_dim
        return torch.zeros(count, length) if length else None


@dataclass(frozen=True)
class Own:
    """A stream with an order of its own."""


@dataclass(frozen=True)
class PairedWith:
    """A stream whose records are paired with another's, by equal keys; one draw flips both.

    Args:
        stream: the other's name.
    """

    stream: str


Link = Own | PairedWith
