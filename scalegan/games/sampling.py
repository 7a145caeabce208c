"""Samples from draws, for any generator: each network declares the distribution of its latents."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.randomness import Draws

_PIXELS_AT_ONCE = 32 * 256**2


def at_once(shape: Sequence[int]) -> int:
    """How many samples [C, ...] to generate at once: 32 images of 256 px, 2 of 1024 px, so that a picture takes less
    memory than training. It depends on nothing else, so neither do a picture's bits."""
    return max(1, _PIXELS_AT_ONCE // math.prod(shape[1:]))


def most_at_once(generator: nn.Module) -> int:
    """The same for a loaded generator, from its description."""
    about = getattr(generator, "about", None)
    return at_once(about["spec"]["shape"]) if about else _PIXELS_AT_ONCE


def latents(generator: nn.Module, draws: Draws) -> Tensor:
    """z [n, latent_dim] from the distribution in the generator's `latent`: "normal", "uniform" in [-1, 1], or a
    function of draws."""
    if callable(generator.latent):
        return generator.latent(draws)
    if generator.latent == "uniform":
        return draws.uniform("z", generator.latent_dim) * 2 - 1
    return draws.normal("z", generator.latent_dim)


def unit_cube(size: int, draws: Draws) -> Tensor:
    """z [n, size], uniform in the unit hypercube: the `latent` of some early fully connected generators."""
    return draws.uniform("z", size)


def is_styled(generator: nn.Module) -> bool:
    """Whether a generator has the halves `mapping` and `synthesis`, and takes noise."""
    return hasattr(generator, "synthesis")


def truncates(generator: nn.Module) -> bool:
    """Whether a generator takes psi: it, or one that it wraps, moves w towards its average, or truncates z."""
    return any(hasattr(module, "mapping") or hasattr(module, "truncated") for module in generator.modules())


def style_of(generator: nn.Module, psi: float = 1.0) -> dict[str, Any]:
    """Arguments that make an image depend on its latent and label alone."""
    return {"psi": psi, "noise": "const"} if is_styled(generator) else {"psi": psi}


def guide(generator: nn.Module, guidance: float) -> None:
    """Makes a generator move w away from its mean over all classes (`models.gat.Generator`), from now on.

    Raises:
        ValueError: if it cannot.
    """
    guided = [module for module in generator.modules() if hasattr(module, "guidance")]
    if not guided or not guided[0].mapping.by_class:
        raise ValueError("guidance needs a model.name=gat with classes; leave it out")
    for module in guided:
        module.guidance = guidance


def keyed_noise(generator: nn.Module, draws: Draws) -> Callable[[str, tuple[int, ...]], Tensor]:
    """The function from which a style-based generator's layers get their noise, (name, shape [n, 1, H, W]) -> Tensor;
    all planes are drawn at once, each by its own key."""
    shapes = generator.synthesis.noise_shapes()
    drawn = draws.normals({f"noise/{name}": shape for name, shape in shapes.items()})
    planes = dict(zip(shapes, drawn.values()))
    return lambda name, shape: planes[name]


def generate(generator: nn.Module, draws: Draws, condition: Tensor | None, psi: float = 1.0,
             noise: str = "const") -> Tensor:
    """Samples [n, ...], each from its own draws alone; for a style-based generator, `noise` is "const", or "random",
    which is from the draws."""
    z = latents(generator, draws)
    if noise == "random" and is_styled(generator):
        return generator.synthesis(generator.mapping(z, condition, psi), keyed_noise(generator, draws))
    return generator(z, condition, **style_of(generator, psi))


def one_batch_at_a_time(generator: nn.Module, draws: Draws, condition: Tensor | None, psi: float, batch: int,
                        noise: str = "const") -> Tensor:
    """`generate` in batches of `batch` samples, or fewer if they are large."""
    parts, batch = [], min(batch, most_at_once(generator))
    for first in range(0, len(draws), batch):
        part = slice(first, first + batch)
        parts.append(generate(generator, draws[part], None if condition is None else condition[part], psi,
                              noise))
    return torch.cat(parts)
