"""Volumes in pictures, from several sides."""

from collections.abc import Mapping

from torch import Tensor

from scalegan.data.rendering import VIEWS, rendered


def views_of(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Columns of a picture with every column of volumes shown from all sides; images stay as they are."""
    found: dict[str, Tensor] = {}
    for name, samples in columns.items():
        if samples.dim() < 5:
            found[name] = samples
            continue
        alone = len(columns) == 1
        found |= {view if alone else f"{name}, {view}": rendered(samples, view) for view in VIEWS}
    return found
