"""`scalegan prepare --kind volumes`: arrays, binvox and meshes become the same voxels; broken files are left out."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from scalegan.commands import prepare
from scalegan.data import voxels
from scalegan.data.manifest import load_set
from scalegan.data.preparing.sources import shapes
from scalegan.data.preparing.sources.shapes import Shape
from scalegan.errors import UsageError, UserError
from scalegan.metrics.images import StoredImages

SIDE = 16


def chair(side: int = SIDE) -> np.ndarray:
    """bool [D, H, W]: a seat with a back behind it, an arm on the right and a leg in front on the left, so that no turn
    looks the same. It reaches all sides of the grid."""
    grid, unit = np.zeros((side,) * 3, bool), side // 8
    grid[:, 4 * unit : 5 * unit] = True         # the seat
    grid[-unit:, : 5 * unit] = True             # the back, away from the viewer
    grid[:, 2 * unit : 5 * unit, -unit:] = True     # the arm
    grid[:unit, 5 * unit :, :unit] = True       # the leg
    return grid


def npz(grid: np.ndarray, **more: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, voxels=grid, **more)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def binvox(grid: np.ndarray) -> bytes:
    """Patrick Min's format, y fastest, then z, then x; y up, z towards the viewer."""
    flat = grid[::-1, ::-1].transpose(2, 0, 1).flatten().astype(np.uint8)
    runs = b"".join(bytes([value, 1]) for value in flat)
    depth, height, width = grid.shape
    return f"#binvox 1\ndim {width} {depth} {height}\ntranslate 0 0 0\nscale 1\ndata\n".encode() + runs


def mesh(grid: np.ndarray, suffix: str) -> bytes:
    """The closed surface of a grid, with its own x, y and z to the right, up and towards the viewer."""
    trimesh = pytest.importorskip("trimesh")
    coarse = grid[::2, ::2, ::2]
    boxes = [trimesh.creation.box(bounds=((w, -h - 1, -d - 1), (w + 1, -h, -d))) for d, h, w in np.argwhere(coarse)]
    found = trimesh.util.concatenate(boxes).export(file_type=suffix[1:])
    return found.encode() if isinstance(found, str) else found


FORMS = {
    ".npz of bools": (".npz", npz), ".npy of bytes up to 255": (".npy", lambda grid: npy(grid.astype(np.uint8) * 255)),
    ".npy with a leading axis": (".npy", lambda grid: npy(grid[None].astype(np.float32))),
    ".binvox": (".binvox", binvox),
    ".obj": (".obj", lambda grid: mesh(grid, ".obj")), ".stl": (".stl", lambda grid: mesh(grid, ".stl")),
    ".off": (".off", lambda grid: mesh(grid, ".off")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_voxels(form: str) -> None:
    suffix, written = FORMS[form]
    grid = chair()
    found = Shape(f"chair{suffix.upper()}", written(grid)).voxels(SIDE)
    assert found.shape == (1, SIDE, SIDE, SIDE) and found.dtype == np.uint8
    assert (found[0] > 127).astype(int).tolist() == grid.astype(int).tolist()


def test_a_mesh_is_filled_whatever_its_size_and_place() -> None:
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=3, radius=40)
    ball.apply_translation((1000, -3, 7))
    found = Shape("ball.stl", ball.export(file_type="stl")).voxels(32)[0] > 0
    assert voxels.bodies(found[None]).tolist() == [1] and found[16, 16, 16]
    assert found.sum() == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.15)       # with those that the surface touches


BROKEN = {
    "several arrays": ("a.npz", npz(chair(), other=chair()), "2 arrays"),
    "pickled": ("a.npy", npy(np.array([{}])), "allow_pickle"),
    "a flat array": ("a.npy", npy(np.ones((4, 4))), "shape [4, 4]"),
    "numbers beyond 1": ("a.npy", npy(np.full((4, 4, 4), 3.0)), "outside 0 to 1"),
    "not a number": ("a.npy", npy(np.full((4, 4, 4), np.nan)), "outside 0 to 1"),
    "text": ("a.npy", npy(np.full((2, 2, 2), "x")), "not of numbers"),
    "nothing in it": ("a.npz", npz(np.zeros((4, 4, 4))), "it is empty"),
    "cut off": ("a.npz", npz(chair())[:100], "zip"),
    "binvox cut off": ("a.binvox", binvox(chair())[:-20], "its runs have"),
    "no binvox": ("a.binvox", b"#binvox 2\n", "not a binvox file"),
    "a mesh without faces": ("a.off", b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", ""),
    "no mesh": ("a.stl", b"\x00" * 90, ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_a_value_error_with_its_reason(case: str) -> None:
    name, data, reason = BROKEN[case]
    if name.endswith(shapes.MESHES):
        pytest.importorskip("trimesh")
    with pytest.raises(ValueError) as refusal:
        Shape(name, data).voxels(SIDE)
    assert reason in str(refusal.value)


@pytest.mark.slow
def test_a_folder_of_classes_becomes_a_set_without_what_is_broken(tmp_path: Path) -> None:
    for name, data in {"chairs/1.npz": npz(chair()), "chairs/2.binvox": binvox(chair()), "chairs/3.npz": b"broken",
                       "cubes/1.npy": npy(np.ones((4, 4, 4))), "cubes/10.npy": npy(np.ones((2, 2, 2))),
                       "cubes/notes.txt": b"-"}.items():
        path = tmp_path / "shapes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    command = [str(tmp_path / "shapes"), str(tmp_path / "set"), "--kind", "volumes", "--resolution", str(SIDE),
               "--max-rejected", "1", "--workers", "1"]
    assert prepare.main(command) == 0
    manifest, index = load_set(tmp_path / "set")
    assert (manifest.image.kind, manifest.labels.names) == ("volume", ("chairs", "cubes"))
    assert index.labels.tolist() == [0, 0, 1, 1] and index.digests[0] == index.digests[1]
    rejected = [json.loads(line)["key"] for line in (tmp_path / "set" / "rejected.jsonl").read_text().splitlines()]
    assert rejected == ["chairs/3.npz"]
    found = StoredImages(tmp_path / "set", "volume")
    assert (found.read(0)[0] == 255 * chair()).all() and (found.read(2) == 255).all()
    assert prepare.main([str(tmp_path / "set"), "--verify"]) == 0


REFUSED = {
    "an option for images": (["--crop", "none"], UsageError, "--crop is for images"),
    "FFCV": (["--format", "ffcv"], UsageError, "--format ffcv is for images"),
    "no shapes": ([], UserError, "has no shapes (*.npz"),
    "attributes": (["--labels", "attributes"], UsageError, "has classes (its sub-folders) or none"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_apply_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    options, kind, message = REFUSED[case]
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind) as refusal:
        prepare.main([str(tmp_path / "empty"), str(tmp_path / "set"), "--kind", "volumes", *options])
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_who_lacks_trimesh_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "a.off").write_bytes(b"OFF")
    monkeypatch.setattr(shapes, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'scalegan\[volumes\]'"):
        prepare.main([str(tmp_path / "shapes"), str(tmp_path / "set"), "--kind", "volumes"])
