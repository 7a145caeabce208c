"""What a sample is, and how a game's streams are related. Imports torch only where a tensor is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Latents:
    """What an autoencoder made of images. Networks see latents as (x - shift) * scale.

    Args:
        encoder, decoder: SHA-256 of their weights.
        image: channels, height and width of the images.
        scale, shift: make the standard deviation of what networks see about 1, and its mean about 0.
        mirrored: whether each record also holds the latents of the mirrored image.
    """

    encoder: str
    decoder: str
    image: tuple[int, int, int]
    scale: float
    shift: float = 0.0
    mirrored: bool = False

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Latents":
        """From its JSON form."""
        return cls(**{**tree, "image": tuple(tree["image"])})

    def drawn(self, stored: "Tensor", noise: "Tensor | None" = None) -> "Tensor":
        """Latents [n, C, h, w] as networks see them, of means and deviations [n, 2, C, h, w]: the means, or with
        standard normal noise [n, C, h, w] samples of the posterior."""
        mean, deviation = stored.float().unbind(1)
        return self.seen(mean if noise is None else mean + deviation * noise)

    def seen(self, x: "Tensor") -> "Tensor":
        """An encoder's latents as networks see them."""
        return (x - self.shift) * self.scale


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
        latents: of which images latents are, and how they are scaled; None for other samples.
    """

    kind: Literal["points", "image", "volume", "latent"]
    shape: tuple[int, ...]
    classes: int = 0
    attributes: int = 0
    vector_dim: int = 0
    label_names: tuple[str, ...] = field(default=(), compare=False)
    depth: int = field(default=8, compare=False)
    alpha: bool = field(default=False, compare=False)
    latents: Latents | None = None

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Spec":
        """Builds a spec from its JSON form, the current one or that of format 1."""
        shape = tuple(tree["shape"])
        if "kind" in tree:
            latents = tree.get("latents")
            return cls(**{**tree, "shape": shape, "label_names": tuple(tree.get("label_names", ())),
                          "latents": Latents.of(latents) if isinstance(latents, Mapping) else latents})
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

    @property
    def decoded(self) -> "Spec":
        """Of the images that latents stand for; for other samples, this one."""
        return self if self.latents is None else replace(self, kind="image", shape=self.latents.image, latents=None)

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
