"""Bytes of fp32 weights of which every rank keeps some rows, as `engines/parts.py` and torch's FSDP2 divide them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Shapes = tuple["torch.Size", ...]
FP32 = 4
BUCKET = 2**24      # elements that `engines/parts.py` exchanges at once


def part(shape: "torch.Size", ranks: int) -> int:
    """Elements of a weight that the first rank holds, who holds most: all of one without axes."""
    return shape.numel() if not shape else -(-shape[0] // ranks) * (shape.numel() // max(1, shape[0]))


def bytes_of(shapes: Shapes) -> int:
    return FP32 * sum(shape.numel() for shape in shapes)


def part_bytes(shapes: Shapes, ranks: int) -> int:
    return FP32 * sum(part(shape, ranks) for shape in shapes)


def padded_bytes(shapes: Shapes, ranks: int) -> int:
    """Bytes of a buffer that holds every rank's part, all as long as the first one's."""
    return ranks * part_bytes(shapes, ranks)


def buckets(shapes: Shapes) -> Iterator[Shapes]:
    """As many weights at a time as are exchanged at once."""
    bucket: list = []
    for shape in shapes:
        if bucket and sum(s.numel() for s in bucket) + shape.numel() > BUCKET:
            yield tuple(bucket)
            bucket = []
        bucket.append(shape)
    if bucket:
        yield tuple(bucket)


def while_gathering(shapes: Shapes, ranks: int) -> int:
    """Most bytes alive while weights are made whole: the last bucket is there twice, in ranks' parts and whole."""
    done, peak = 0, 0
    for bucket in buckets(shapes):
        done += bytes_of(bucket)
        peak = max(peak, done + padded_bytes(bucket, ranks) + 2 * part_bytes(bucket, ranks))
    return peak
