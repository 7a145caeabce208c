"""Volumes as files: their voxels as NumPy arrays, their surface as meshes, and a picture of three sides."""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scalegan.data.picture import crop, resize
from scalegan.data.pixels import from_levels
from scalegan.data.rendering import FILLED, VIEWS, rendered
from scalegan.pictures.grids import pixels_of, save_pixels
from scalegan.pictures.samples import Form
from scalegan.support.files import write_whole

# Of the six sides of a voxel at the origin: the step across, and corners in turn seen from outside; all (d, h, w).
_SIDES = (((-1, 0, 0), ((0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1))),
          ((1, 0, 0), ((1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0))),
          ((0, -1, 0), ((0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0))),
          ((0, 1, 0), ((0, 1, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1))),
          ((0, 0, -1), ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))),
          ((0, 0, 1), ((0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 1))))


def surface(filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface of a grid, bool [D, H, W]: corners, float64 [n, 3], and the squares between them, int64 [m, 4],
    anticlockwise seen from outside.

    x points right, y up and z towards the viewer; the grid's longest side is 1, and its middle the origin.
    """
    padded, squares = np.pad(filled, 1), []
    for step, corners in _SIDES:
        outside = ~np.roll(padded, [-one for one in step], (0, 1, 2))[1:-1, 1:-1, 1:-1]
        squares.append(np.argwhere(filled & outside)[:, None] + np.array(corners))
    places, found = np.unique(np.concatenate(squares).reshape(-1, 3), axis=0, return_inverse=True)
    depth, height, width = ((places - np.array(filled.shape) / 2) / max(filled.shape)).T
    return np.stack([width, -height, -depth], 1), found.reshape(-1, 4)


def obj_of(filled: np.ndarray) -> bytes:
    """A Wavefront OBJ file of the surface of a grid, bool [D, H, W]."""
    corners, squares = surface(filled)
    lines = [f"v {x:g} {y:g} {z:g}\n" for x, y, z in corners.tolist()]
    lines += [f"f {a} {b} {c} {d}\n" for a, b, c, d in (squares + 1).tolist()]
    return "".join(lines).encode()


def _write(stem: Path, volume: Tensor, picture: np.ndarray) -> None:
    grid = volume[0].float().cpu().numpy()
    file = io.BytesIO()
    np.savez_compressed(file, voxels=grid)
    write_whole(stem.with_suffix(".npz"), file.getvalue())
    write_whole(stem.with_suffix(".obj"), obj_of(grid > FILLED))


def _shown(volumes: Tensor) -> np.ndarray:
    return pixels_of(torch.cat([rendered(volumes, view) for view in VIEWS], 3))


def shape_of(network: nn.Module, pixels: np.ndarray) -> Tensor:
    """The volume [1, D, H, W] that a network makes of the central square of a picture, uint8 [H, W, 3 or 1], white on
    black, such as those of `rendered`."""
    square = resize(crop(pixels, "center"), network.picture_side, 1, "lanczos")
    pictures = from_levels(torch.from_numpy(square.copy()).permute(2, 0, 1)[None])
    with torch.inference_mode():
        return network(pictures.to(next(network.parameters()).device))[0].cpu()


def write(path: Path, volume: Tensor) -> None:
    """Writes a volume [1, D, H, W] beside a picture of it from three sides, the PNG that `path` names."""
    picture = _shown(volume[None])[0]
    save_pixels(path, picture)
    _write(path.with_suffix(""), volume, picture)


#: Samples [n, 1, D, H, W] in [0, 1]: `voxels` [D, H, W] as .npz, and .obj where more than half a voxel is filled.
VOLUMES = Form((".npz", ".obj"), _write, _shown)
