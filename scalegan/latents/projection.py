"""The latent of a photo: the point whose image is most like it."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from scalegan.data.picture import fit, read_picture
from scalegan.data.pixels import from_levels
from scalegan.errors import UserError
from scalegan.latents.descent import descend
from scalegan.latents.likeness import Likeness
from scalegan.latents.space import Space
from scalegan.support.reading import read_bytes

STARTS = 8
_CANDIDATES = 256


def read_photo(space: Space, path: Path) -> Tensor:
    """A photo's middle at the size of the generator's images, [1, C, H, W] in [-1, 1], on its device.

    Raises:
        UserError: if there is no such photo, or it cannot be read, or the generator makes images of other channels.
    """
    channels, *sides = space.shape
    if channels not in (1, 3):
        raise UserError(f"the generator's images have {channels} channels, and a photo has 1 or 3; name a run of such "
                        "images")
    try:
        pixels = fit(read_picture(read_bytes(path)), "center", tuple(sides), channels, "lanczos").pixels
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read as a photo ({error}); use a JPEG or PNG") from error
    return from_levels(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]).to(space.device)


def project(space: Space, photo: Tensor, label: Tensor | None, likeness: Likeness, advance: Callable[[int], None],
            way: "Way | None" = None) -> Tensor:
    """The point [dim] found by descent from those of 256 random samples that are most like the photo (after Zhu et al.,
    2016, section 4.1, who start from a network's prediction).

    Args:
        photo: [1, C, H, W] in [-1, 1], on the generator's device.
        label: of the photo, a class [1] or attributes [1, K].
        way: is shown the most alike of the images.
    """
    points, _ = space.drawn(_CANDIDATES, "projection")
    labels = None if label is None else label.expand(len(points), *label.shape[1:])
    with torch.no_grad():
        images = space.images(points, labels).to(space.device)
        apart = torch.cat([likeness(part, photo) for part in images.split(STARTS)])
    starts = points[apart.argsort(stable=True)[:STARTS]]
    watch = {} if way is None else {"watch": lambda costs, images: way.show(images[costs.argmin()], costs.min())}
    return descend(space, starts, label, lambda _, images: likeness(images, photo), advance, **watch)


class Way:
    """What a projection passes on its way, as frames for an animation: the most alike images so far.

    Attributes:
        frames: [C, H, W] each, in [-1, 1], on the CPU.
    """

    _EVERY = 10     # steps

    def __init__(self) -> None:
        self.frames: list[Tensor] = []
        self._steps, self._least = 0, torch.inf

    def show(self, image: Tensor, apart: Tensor) -> None:
        """A step's image [C, H, W], and how much it differs from the photo, []."""
        if apart < self._least:
            self._least, self._best = float(apart), image
        if self._steps % self._EVERY == 0:
            self.frames.append(self._best.clamp(-1, 1).cpu())
        self._steps += 1
