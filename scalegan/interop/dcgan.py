"""DCGAN from the weights of pytorch/examples."""

import re
from collections.abc import Callable

from torch import Tensor, nn

from scalegan.interop.reference import Reference, State
from scalegan.models import dcgan


def dcgan_generator(state_dict: State) -> dcgan.Generator:
    """From the `Generator` of pytorch/examples/dcgan, or a variant with more or fewer such layers."""
    reference = Reference(_by_number(state_dict), "pytorch/examples' DCGAN generator",
                           ignored="num_batches_tracked$")
    kernels = [name for name, value in reference.tensors.items() if value.dim() == 4]
    if len(kernels) < 3:
        raise ValueError(f"this is not a state dict of {reference.what}: it has {len(kernels)} convolutions")
    width, channels = reference.shape(kernels[-1], 4)[:2]
    return _in_order(reference, lambda: dcgan.Generator(
        resolution=4 << (len(kernels) - 1), channels=channels, width=width,
        latent_dim=reference.shape(kernels[0], 4)[0]))


def dcgan_discriminator(state_dict: State) -> dcgan.Discriminator:
    """From the `Discriminator` of pytorch/examples/dcgan; ours returns the logit, theirs its sigmoid."""
    reference = Reference(_by_number(state_dict), "pytorch/examples' DCGAN discriminator",
                           ignored="num_batches_tracked$")
    kernels = [name for name, value in reference.tensors.items() if value.dim() == 4]
    if len(kernels) < 3:
        raise ValueError(f"this is not a state dict of {reference.what}: it has {len(kernels)} convolutions")
    width, channels = reference.shape(kernels[0], 4)[:2]
    return _in_order(reference, lambda: dcgan.Discriminator(
        resolution=4 << (len(kernels) - 1), channels=channels, width=width))


def _by_number(state: State) -> State:
    """The state dict sorted by layer number, if all names have one: safetensors files do not keep the order."""
    found = {name: re.fullmatch(r".*?(\d+)\.(\w+)", name) for name in state}
    if not all(found.values()):
        return state
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    rank = {name: (int(match[1]), leaves.index(match[2]) if match[2] in leaves else len(leaves))
            for name, match in found.items()}
    return {name: state[name] for name in sorted(state, key=rank.__getitem__)}


def _in_order(reference: Reference, build: Callable[[], nn.Module]) -> nn.Module:
    """Fills our network in order: both hold the same tensors in the same order, whatever their names."""
    theirs = iter([name for name in reference.tensors if name in reference.left])

    def following(name: str) -> Tensor:
        other = next(theirs, None)
        if other is None or other.rpartition(".")[2] != name.rpartition(".")[2]:
            raise ValueError(f"this is not a state dict of {reference.what}: the tensor for {name} is missing")
        return reference.take(other)

    return reference.fill(build, following)
