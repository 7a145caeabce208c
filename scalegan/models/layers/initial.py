"""Random generators for initial weights."""

from collections.abc import Callable

import torch

#: Returns the random generator for the parameter of that name; None stands for torch's global one. The trainer keys
#: generators by (seed, player, parameter name), so that adding a layer does not change the weights of others.
Generators = Callable[[str], torch.Generator | None]


def global_generator(name: str) -> None:
    """The generator of a model built outside the trainer: torch's global one."""
    return None
