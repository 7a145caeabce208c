"""Random generators for initial weights."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm

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


@torch.no_grad()
def small_normal_unit_gains(module: nn.Module, generator: Generators) -> None:
    """Weights N(0, 0.02), gains of BatchNorm 1, biases 0."""
    gains = {id(part.weight) for part in module.modules() if isinstance(part, GroupedBatchNorm)}
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.dim() == 1:
            parameter.fill_(1.0 if id(parameter) in gains else 0.0)
        else:
            parameter.normal_(0.0, 0.02, generator=generator(name))


@torch.no_grad()
def glorot_uniform(module: nn.Module, generator: Generators) -> None:
    """Weights of layers without norms, uniform, by Glorot & Bengio (2010, eq. 16); biases 0."""
    for name, parameter in module.named_parameters():
        if parameter.dim() == 1:
            parameter.zero_()
        elif not parameter.is_meta:
            nn.init.xavier_uniform_(parameter, generator=generator(name))


@torch.no_grad()
def fan_in_uniform(module: nn.Module, generator: Generators) -> None:
    """torch's own initial weights of convolutions: uniform in +-1 / sqrt(fan_in), biases too; gains of norms 1."""
    for name, part in module.named_modules():
        if not isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.InstanceNorm2d) or part.weight.is_meta:
            continue
        if isinstance(part, nn.InstanceNorm2d):
            part.reset_parameters()
            continue
        for leaf, parameter in part.named_parameters():
            fan_in_uniform_(parameter, part.weight[0].numel(), generator(f"{name}.{leaf}"))


@torch.no_grad()
def fan_in_uniform_(tensor: Tensor, fan_in: int, generator: torch.Generator | None) -> None:
    """Fills weights or biases uniformly in +-1 / sqrt(fan_in), in place."""
    bound = 1 / math.sqrt(fan_in)
    tensor.uniform_(-bound, bound, generator=generator)
