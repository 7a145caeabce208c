"""Where initial weights come from."""

from collections.abc import Callable

import torch

#: Gives the random generator that fills the parameter of that name; None stands for torch's global one. The
#: trainer keys a generator by (seed, player, parameter name), so that adding a layer changes no other's weights.
Generators = Callable[[str], torch.Generator | None]


def unseeded(name: str) -> None:
    """The generator of a model built by hand: torch's global one."""
    return None
