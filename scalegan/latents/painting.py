"""Edits on the manifold of a generator: its image with painted colours (Zhu et al., 2016, "Generative Visual
Manipulation on the Natural Image Manifold"; Brock et al., 2017, "Neural Photo Editing").

A latent z near that of the start, z0, is sought whose image has the colours where they are painted and looks like the
start elsewhere:

    mean((G(z) - colours)^2 m) / (mean(m) + 1e-5) + 5 mean((z - z0)^2) + difference of G(z) and the start outside m

with m = 1 where it is painted. The first two terms and their weights are iGAN's. The result takes from G(z) what
changes and may change, and keeps the start's own pixels elsewhere, by Neural Photo Editor's interpolation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.data.pixels import to_uint8
from scalegan.latents.descent import descend, restarts
from scalegan.latents.likeness import Likeness
from scalegan.latents.paint import Paint
from scalegan.latents.projection import project, read_photo
from scalegan.latents.space import Space
from scalegan.support.devices import double

RESTARTS = 8        # iGAN's interface has 64, on a GPU
_NEAR = 5.0         # in iGAN's uniform z, whose variance is 1/3
_SIGMA = 0.7        # of the mask's blur in pixels, Neural Photo Editor's
_MUCH = 0.25        # a change that is taken wholly; Neural Photo Editor takes 1, with which most changes fade
_LITTLE = 0.1       # of the mask, below which nothing changes


@dataclass(frozen=True)
class Start:
    """What is edited.

    Args:
        image: [1, C, H, W] in [-1, 1]: a sample, or a photo.
        point: its latent [dim], for a photo the projection's.
        drawn: the generator's image of that latent.
        label: a class [1], or attributes [1, K], or None.
        seed: of the restarts.
    """

    image: Tensor
    point: Tensor
    drawn: Tensor
    label: Tensor | None
    seed: int


@dataclass(frozen=True)
class Painted:
    """An edit.

    Args:
        point: the latent [dim] that was found.
        generated: the generator's image of it, [1, C, H, W] in [-1, 1].
        result: the start with what is painted from that image.
        kept: where the result has the start's own pixels, bool [H, W].
    """

    point: Tensor
    generated: Tensor
    result: Tensor
    kept: Tensor


def of_seed(space: Space, seed: int, label: Tensor | None) -> Start:
    """A sample, as `scalegan sample` draws it."""
    point = space.of_seeds([seed], label)
    image = shown(space, point[0], label)
    return Start(image, point[0], image, label, seed)


def of_photo(space: Space, path: Path, label: Tensor | None, likeness: Likeness, advance: Callable[[int], None],
             ) -> Start:
    """A photo's middle at the size of the generator's images, and its projection.

    Raises:
        UserError: if there is no such photo, or it cannot be read.
    """
    image = read_photo(space, path)
    point = project(space, image, label, likeness, advance)
    return Start(image, point, shown(space, point, label), label, 0)


def shown(space: Space, point: Tensor, label: Tensor | None) -> Tensor:
    """The image [1, C, H, W] of a point [dim], as a file would show it: not all generators stay between -1 and 1."""
    return space.images(point[None], label).to(space.device).clamp(-1, 1)


def paint_on(space: Space, start: Start, paint: Paint, likeness: Likeness, advance: Callable[[int], None]) -> Painted:
    """Paints on a start; all tensors are on the generator's device."""
    area, unit, weight = paint.area, space.unit(), _NEAR if space.bounded else _NEAR / 3
    share = area.float().mean() + 1e-5

    def cost(points: Tensor, images: Tensor) -> Tensor:
        colour = ((images - paint.colours).square() * area).mean((1, 2, 3)) / share
        near = ((points - start.point) / unit).square().mean(1)
        return colour + weight * near + likeness(torch.where(area, start.image, images), start.image)

    point = descend(space, restarts(space, start.point, RESTARTS, start.seed), start.label, cost, advance)
    generated = shown(space, point, start.label)
    mask = mask_of(paint, generated - start.drawn)
    return Painted(point, generated, interpolated(start.image, start.drawn, generated, mask), mask == 0)


def mask_of(paint: Paint, change: Tensor) -> Tensor:
    """M [H, W] in [0, 1]: 1 where the image changes much, blurred by a Gaussian; 0 where it may not change, or hardly
    does.

    Args:
        change: d, [1, C, H, W].
    """
    offsets = torch.arange(-3, 4, device=change.device)
    window = (-offsets.square() / (2 * _SIGMA**2)).exp()
    window = window / window.sum()
    strength = (change.abs().mean(1, keepdim=True) / _MUCH).clamp(max=1) * paint.free
    padded = F.pad(strength, (3, 3, 3, 3), mode="replicate")
    mask = F.conv2d(F.conv2d(padded, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))[0, 0]
    return mask * paint.free * (mask > _LITTLE)


def interpolated(image: Tensor, drawn: Tensor, generated: Tensor, mask: Tensor) -> Tensor:
    """r + M d + (1 - M)(x - r), with x the image, r what the generator draws of it, and d = `generated` - r (Brock et
    al., 2017, section 3.1); exactly x where M = 0."""
    mixed = drawn + mask * (generated - drawn) + (1 - mask) * (image - drawn)
    return torch.where(mask == 0, image, mixed.clamp(-1, 1))


def figures(start: Start, paint: Paint, painted: Painted) -> dict[str, object]:
    """In steps of 0 ... 255: the root mean squared difference from the painted colours, before and after, of the result
    and of the generated image; and the largest change of a pixel where M = 0 (None if there is none)."""
    def error(images: Tensor) -> float:
        difference = (double(to_uint8(images)) - to_uint8(paint.colours))[:, :, paint.area]
        return round(difference.square().mean().sqrt().item(), 2)

    change = (to_uint8(painted.result).int() - to_uint8(start.image)).abs()[:, :, painted.kept]
    return {"error_before": error(start.image), "error_after": error(painted.result),
            "error_of_generated": error(painted.generated),
            "largest_change_outside": int(change.max()) if change.numel() else None}


def columns(start: Start, paint: Paint, painted: Painted) -> dict[str, Tensor]:
    """Images [1, C, H, W] of an edit, by what they show."""
    projected = {} if start.drawn is start.image else {"projected": start.drawn}
    return {"start": start.image, **projected, "painted": paint.on(start.image), "generated": painted.generated,
            "result": painted.result}
