"""Turns a file of a shape into voxels: NumPy arrays and binvox as they are, meshes filled."""

import io
import re
import zipfile
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from scalegan.data.preparing.sources.stores import LARGEST
from scalegan.data.voxels import fitted, solid
from scalegan.errors import UserError

MESHES = (".stl", ".obj", ".off")
SUFFIXES = (".npz", ".npy", ".binvox", *MESHES)
_MOST_PARTS = 20_000_000        # of a mesh's surface
_FINER = 2                      # edges of the surface's parts per voxel
_INWARDS = 1e-3                 # of a voxel
_BINVOX = re.compile(rb"#binvox 1\n(?:.*\n)*?dim (\d{1,4}) (\d{1,4}) (\d{1,4})\n(?:.*\n)*?data\n")
_HEADER = 500                   # bytes of a binvox file that its header takes at most


class Shape(NamedTuple):
    """A file as it was found: its name says what is in it."""

    name: str
    data: bytes

    def voxels(self, side: int) -> np.ndarray:
        """How much of each voxel is filled, from 0 to 255, uint8 [1, side, side, side]. The first axis points away from
        the viewer, the second down, the third to the right; x, y and z of a mesh or a binvox point right, up and
        towards the viewer.

        Raises:
            ValueError: if the file is damaged, or not of the kind that its name says, with a reason for
                `rejected.jsonl`.
        """
        suffix = PurePosixPath(self.name).suffix.lower()
        try:
            grid = {".npz": _npz, ".npy": _npy, ".binvox": _binvox}[suffix](self.data) if suffix not in MESHES else \
                _mesh(self.data, suffix, side)
        except (ValueError, MemoryError):
            raise
        except Exception as error:      # on damaged bytes, readers raise exceptions of any type
            raise ValueError(str(error) or type(error).__name__) from error
        if not grid.any():
            raise ValueError("it is empty")
        return np.rint(255 * fitted(grid, side)).astype(np.uint8)[None]


def check_installed() -> None:
    """Raises UserError if meshes cannot be read."""
    if find_spec("trimesh") is None:
        raise UserError("meshes (STL, OBJ, OFF) are read by trimesh; run `pip install 'scalegan[volumes]'`")


def _npz(data: bytes) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if len(infos) != 1:
            raise ValueError(f"it has {len(infos)} arrays; save one volume a file")
        if infos[0].file_size > LARGEST:
            raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
        return _npy(archive.read(infos[0]))


def _npy(data: bytes) -> np.ndarray:
    """Shares [D, H, W] from an array of bools, of numbers from 0 to 1, or of bytes from 0 to 255."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    shape = array.shape[1:] if array.ndim == 4 and array.shape[0] == 1 else array.shape
    if len(shape) != 3 or not array.size:
        raise ValueError(f"its array has the shape {list(array.shape)}, not [D, H, W]")
    if array.dtype.kind not in "buif":
        raise ValueError(f"its array is of {array.dtype}, not of numbers")
    grid = array.reshape(shape).astype(np.float64)
    if array.dtype == np.uint8 and grid.max() > 1:
        grid /= 255
    if not ((grid >= 0) & (grid <= 1)).all():
        raise ValueError("it has values outside 0 to 1, the share of a voxel that is filled")
    return grid


def _binvox(data: bytes) -> np.ndarray:
    """bool [D, H, W] from Patrick Min's format: runs of equal voxels along y, then z, then x."""
    if (head := _BINVOX.match(data[:_HEADER])) is None:
        raise ValueError("it is not a binvox file")
    x, z, y = map(int, head.groups())
    if x * z * y > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} voxels")
    runs = np.frombuffer(data, np.uint8, offset=head.end())
    values, lengths = runs[::2], runs[1::2].astype(np.int64)
    if len(runs) % 2 or lengths.sum() != x * z * y:
        raise ValueError(f"its runs have {lengths.sum():,} voxels, not {x} x {z} x {y}")
    return np.repeat(values > 0, lengths).reshape(x, z, y).transpose(1, 2, 0)[::-1, ::-1]


def _mesh(data: bytes, suffix: str, side: int) -> np.ndarray:
    """bool [D, H, W]: the voxels that a mesh passes through, and all inside it; its longest extent is `side`."""
    import trimesh

    mesh = trimesh.load_mesh(io.BytesIO(data), file_type=suffix[1:], process=False)
    corners, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    if not len(faces) or not np.isfinite(corners).all():
        raise ValueError("it has no faces" if not len(faces) else "it has corners that are not finite")
    low, high = corners[faces].min((0, 1)), corners[faces].max((0, 1))
    if not (voxel := (high - low).max() / side) > 0:
        raise ValueError("it has no extent")
    if mesh.area / (voxel / _FINER) ** 2 + len(faces) > _MOST_PARTS:
        raise ValueError("its faces are too many and too large")
    points, parts = trimesh.remesh.subdivide_to_size(corners, faces, voxel / _FINER, max_iter=30)
    # Of faces so small, the middles leave no gap; they move inwards a little, off the borders of voxels.
    a, b, c = (points[parts[:, number]] for number in range(3))
    across = np.cross(b - a, c - a)
    inwards = across / np.linalg.norm(across, axis=1, keepdims=True).clip(1e-30)
    middles = (a + b + c) / 3 - _INWARDS * voxel * inwards
    places = np.floor((middles - (low + high) / 2) / voxel + side / 2).astype(np.int64).clip(0, side - 1)
    surface = np.zeros((side, side, side), bool)
    surface[side - 1 - places[:, 2], side - 1 - places[:, 1], places[:, 0]] = True
    return solid(surface)
