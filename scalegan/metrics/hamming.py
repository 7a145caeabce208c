"""How often a game takes the attributes of photos for others than they are: the Hamming loss (Ma et al., 2018, section
5.2), the share of all attributes of all photos that are wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scalegan.data.pixels import from_levels
from scalegan.engines.ranks import Ranks
from scalegan.metrics.face_networks import Faces
from scalegan.metrics.samples import read


def steps(faces: Faces, count: int) -> int:
    """How far `of_photos` advances its bar in all, for `count` photos."""
    return count


def constant(faces: Faces, count: int) -> str:
    """What the figure depends on besides the photos and their number."""
    return f"probabilities above 0.5, {count:,} photos"


@torch.inference_mode()
def of_photos(faces: Faces, numbers: np.ndarray, batch_size: int, ranks: Ranks, advance: Callable[[int], None],
              ) -> tuple[dict[str, float], dict[str, Any]]:
    """The Hamming loss over the photos with these numbers; and beside it that of always guessing what most of them
    have, and both for each attribute. The same bits on any number of ranks."""
    images, = faces.photos.values()
    truth = torch.from_numpy(faces.attributes[numbers]).bool()
    wrong = torch.zeros(truth.shape, dtype=torch.float64)

    def share() -> None:
        for start in range(ranks.rank * batch_size, len(numbers), ranks.world_size * batch_size):
            part = slice(start, start + batch_size)
            found = faces.recognise(from_levels(read(images, numbers[part]).to(ranks.device))).cpu() > 0.5
            wrong[part] = (found != truth[part]).double()
            advance(min(ranks.world_size * batch_size, len(numbers) - start))

    ranks.run_collectively(share)
    of_each = torch.stack(ranks.all_gather(wrong)).sum(0).mean(0)
    present = truth.double().mean(0)
    majority = torch.minimum(present, 1 - present)
    return {"attribute_hamming": of_each.mean().item()}, {
        "majority": majority.mean().item(),
        "by_attribute": {name: {"wrong": one, "majority": other}
                         for name, one, other in zip(faces.names, of_each.tolist(), majority.tolist())}}
