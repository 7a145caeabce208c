"""The latent of a photo: the point whose image is most like it."""

from collections.abc import Callable

import torch
from torch import Tensor

from scalegan.latents.descent import descend
from scalegan.latents.likeness import Likeness
from scalegan.latents.space import Space

STARTS = 8
_CANDIDATES = 256


def project(space: Space, photo: Tensor, label: Tensor | None, likeness: Likeness, advance: Callable[[int], None],
            ) -> Tensor:
    """The point [dim] found by descent from those of 256 random samples that are most like the photo (after Zhu et al.,
    2016, section 4.1, who start from a network's prediction).

    Args:
        photo: [1, C, H, W] in [-1, 1], on the generator's device.
        label: of the photo, a class [1] or attributes [1, K].
    """
    points, _ = space.drawn(_CANDIDATES, "projection")
    labels = None if label is None else label.expand(len(points), *label.shape[1:])
    with torch.no_grad():
        images = space.images(points, labels).to(space.device)
        apart = torch.cat([likeness(part, photo) for part in images.split(STARTS)])
    starts = points[apart.argsort(stable=True)[:STARTS]]
    return descend(space, starts, label, lambda _, images: likeness(images, photo), advance)
