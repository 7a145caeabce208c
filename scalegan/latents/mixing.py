"""Style mixing (Karras et al., 2019, section 3.1 and figure 3): coarse styles of one sample, the others of another."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.latents.space import Space

COARSE = 8      # px: the largest resolution of the paper's coarse styles, which set pose, hair and shape of faces


def coarse_styles(generator: nn.Module) -> int:
    """How many of a generator's styles, the first ones, belong to convolutions at 4 and 8 px; of one that makes images
    of 8 px, only that at 4 px."""
    return 3 if generator.resolution > COARSE else 1


@torch.no_grad()
def mixed(generator: nn.Module, rows: Sequence[int], columns: Sequence[int], label: Tensor | None = None,
          psi: float = 1.0) -> Tensor:
    """Images [1 + rows, 1 + columns, C, H, W] of a style-based generator, on the CPU.

    The first row holds the samples of the seeds `columns`, the first column those of `rows`, and the corner is white.
    Others have the coarse styles of their row's sample and the other styles of their column's.

    Args:
        label: of all images: a class, [1], or attributes, [1, K].
        psi: truncation.

    Raises:
        ValueError: if the generator is not style-based.
    """
    space = Space(generator, psi)
    if not space.styled:
        raise ValueError("styles can be mixed in style-based generators only, such as StyleGAN2")
    seeds = [*columns, *rows]
    points = space.of_seeds(seeds, None if label is None else label.expand(len(seeds), *label.shape[1:]))
    sources = space.images(points)
    fine, coarse = points[: len(columns)], points[len(columns):]
    made = [sources[: len(columns)]]
    for point in coarse:
        ws = fine[:, None].repeat(1, generator.num_ws, 1)
        ws[:, : coarse_styles(generator)] = point
        made.append(torch.cat([generator.synthesis(part, "const").cpu() for part in ws.split(8)]))
    first = torch.cat([torch.ones_like(sources[:1]), sources[len(columns):]])
    return torch.cat([first[:, None], torch.stack(made)], 1)
