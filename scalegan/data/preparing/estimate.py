"""Estimates the size and time that a source will take, from a few of its records."""

import time
from dataclasses import dataclass

import numpy as np

from scalegan.data.preparing.shard_job import ShardJob
from scalegan.data.preparing.sources.base import Picture
from scalegan.errors import UserError

_TAR_BLOCK = 512


@dataclass(frozen=True)
class Sample:
    """Averages over a few records, as an estimate for all."""

    record_bytes: float         # in a shard, including tar headers
    record_seconds: float


def measure(job: ShardJob, pictures: list[tuple[str, Picture | Exception]]) -> Sample:
    """Encodes the sampled pictures. Raises UserError with the reason if none of them can be used."""
    sizes, reason, start = [], "", time.perf_counter()
    for key, picture in pictures:
        try:
            if isinstance(picture, Exception):
                raise ValueError(str(picture)) from picture
            sizes.append(len(job.encoded(picture)[0]))
        except ValueError as error:
            reason = f"{key}: {error}"
    if not sizes:
        raise UserError(f"none of the {len(pictures)} sampled {job.image.kind}s of {job.source.name} can be used; "
                        f"{reason}")
    labels = job.source.labels
    label = {"none": 0, "class": _TAR_BLOCK + _padded(1), "attributes": _TAR_BLOCK + _padded(3 * len(labels.names)),
             "vectors": _TAR_BLOCK + _padded(16)}
    return Sample(float(np.mean([_padded(size) for size in sizes])) + _TAR_BLOCK + label[labels.kind],
                  (time.perf_counter() - start) / len(pictures))


def _padded(size: int) -> int:
    return -(-size // _TAR_BLOCK) * _TAR_BLOCK


def in_bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def in_time(seconds: float) -> str:
    if seconds > 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
