"""Metrics of what games make of faces: `identity`, and `attribute_hamming` of those that recognise attributes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError
from scalegan.metrics import hamming, identity
from scalegan.metrics.face_networks import Faces
from scalegan.metrics.features import chosen

METRICS = ("identity", "attribute_hamming")
_HAVE = {"identity": "game.name=iterative, stargan or cyclegan",
         "attribute_hamming": "game.name=iterative, or of stargan with attributes"}

Bars = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def check(asked: set[str], samples: object) -> None:
    """Raises UsageError if a metric of faces is asked for where there are none."""
    faces = getattr(samples, "faces", None)
    for metric in sorted(asked & set(METRICS)):
        if faces is None or (metric == "attribute_hamming" and faces.recognise is None):
            raise UsageError(f"--metrics {metric}: {getattr(samples, 'name', 'this')} does not "
                             f"{'turn faces into faces' if metric == 'identity' else 'recognise attributes'}; use a "
                             f"run of {_HAVE[metric]}, or other metrics")
        if metric == "attribute_hamming" and faces.attributes is None:
            raise UsageError(f"--metrics attribute_hamming: {next(iter(faces.photos.values())).name} has no "
                             "attributes; name photos that have them with --data")


def figures(asked: tuple[str, ...], faces: Faces, most: int | None, batch_size: int, ranks: Ranks,
            bar: Bars) -> dict[str, Any]:
    """What a result has of these metrics: `metrics`, `constants`, `num_photos`, and details under the name of each.

    Args:
        most: of how many photos, of each domain, at most; None for all.
        bar: makes a progress bar of a name and a number of steps.
    """
    numbers = chosen(min(map(len, faces.photos.values())), most, "photos")
    found: dict[str, Any] = {"metrics": {}, "constants": {}, "num_photos": len(numbers)}
    for metric, kind in (("identity", identity), ("attribute_hamming", hamming)):
        if metric in asked:
            with bar(metric, kind.steps(faces, len(numbers))) as advance:
                values, found[metric] = kind.of_photos(faces, numbers, batch_size, ranks, advance)
            found["metrics"] |= values
            found["constants"][metric] = kind.constant(faces, len(numbers))
    return found
