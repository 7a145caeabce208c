"""The models that change attributes of faces, called alike."""

from collections.abc import Callable

import torch
from torch import Tensor

from scalegan.study.faces.bench import Bench, made, recognised
from scalegan.study.faces.trainings import INTEGRATED, cyclegan

ITERATIVE, STARGAN, CYCLEGAN = "iterative GAN", "StarGAN", "CycleGAN"

# Photos uint8 [n, 3, H, W], their attributes [n, K], and what some are to become, nan for the others [n, K], to images.
Change = Callable[[Tensor, Tensor, Tensor], Tensor]


def changer(bench: Bench, seed: int, name: str, attribute: str | None = None) -> Change:
    """A model by its name; CycleGAN has one for each attribute, from its absence to its presence."""
    if name == CYCLEGAN:
        network = bench.network(cyclegan(attribute), seed, "A_to_B")
        return lambda photos, labels, goals: made(network, photos)
    if name == ITERATIVE:
        return _iterative(bench, seed)
    network = bench.network("stargan", seed)
    known = bench.places(network.names)
    return lambda photos, labels, goals: made(network, photos, with_goals(labels, goals)[:, known])


def with_goals(labels: Tensor, goals: Tensor) -> Tensor:
    """The attributes that faces are to have, [n, K]: their own but for the goals."""
    return torch.where(goals.isnan(), labels, goals)


def _iterative(bench: Bench, seed: int) -> Change:
    """It keeps what its recogniser finds in a face, not what is known of it, as the paper has it."""
    recognise, transform = (bench.network(INTEGRATED, seed, name) for name in ("recognise", "transform"))

    def change(photos: Tensor, labels: Tensor, goals: Tensor) -> Tensor:
        return made(transform, photos, with_goals(recognised(recognise, photos), goals))
    return change
