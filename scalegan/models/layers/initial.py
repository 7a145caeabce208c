"""Random generators for initial weights."""

from collections.abc import Callable

import torch
from torch import nn

#: Returns the random generator for the parameter of that name; None stands for torch's global one. The trainer keys
#: generators by (seed, player, parameter name), so that adding a layer does not change the weights of others.
Generators = Callable[[str], torch.Generator | None]


def global_generator(name: str) -> None:
    """The generator of a model built outside the trainer: torch's global one."""
    return None


@torch.no_grad()
def small_normal(module: nn.Module, generator: Generators) -> None:
    """Weights N(0, 0.02), gains of norms N(1, 0.02), zero biases: initial weights of DCGAN, pix2pix and CycleGAN."""
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.02, generator=generator(name))
