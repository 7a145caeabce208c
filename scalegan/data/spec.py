"""What a sample is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What the networks are for: the shape of a sample [C, H, W] or [2], and the labels."""

    shape: tuple[int, ...]
    num_classes: int = 0
    multilabel: bool = False
