"""Pictures of volumes from several sides, and their voxels and surfaces as files."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scalegan.data.preparing.sources.shapes import Shape
from scalegan.data.rendering import VIEWS, rendered
from scalegan.pictures import solids
from scalegan.pictures.samples import write_samples
from scalegan.pictures.voxels import views_of

SIDE = 16


def volume() -> Tensor:
    """[1, 1, 16, 16, 16]: a bar in front on the left, a plate behind on the right, in different depths and heights;
    together they reach all sides."""
    found = torch.zeros(1, 1, SIDE, SIDE, SIDE)
    found[:, :, 0:3, 0:13, 0:3] = 1
    found[:, :, 13:16, 4:16, 8:16] = 1
    return found


def test_a_view_from_the_front_or_side_shows_the_silhouette() -> None:
    for view, axis in (("front", 2), ("side", 4)):
        silhouette = volume().amax(axis)[0, 0]
        silhouette = silhouette.T if view == "side" else silhouette     # from the right: depth runs to the right
        seen = rendered(volume(), view)[0, 0]
        assert ((seen > -1).float() == silhouette.repeat_interleave(4, 0).repeat_interleave(4, 1)).all(), view


def test_nearer_is_brighter_and_what_is_behind_is_hidden() -> None:
    front = rendered(volume(), "front")[0, 0]
    near, far = front[20, 10], front[40, 50]
    assert near > far > -1
    behind = volume()
    behind[:, :, 8, 0:13, 0:3] = 1
    assert rendered(behind, "front").equal(rendered(volume(), "front"))
    assert not rendered(behind, "side").equal(rendered(volume(), "side"))


def test_turning_the_volume_is_walking_round_it() -> None:
    """A quarter turn to the left shows from the front what was seen from the right."""
    turned = volume().transpose(2, 4).flip(2)
    assert rendered(turned, "front").gt(-1).equal(rendered(volume(), "side").gt(-1))


@pytest.mark.parametrize("view", VIEWS)
def test_pictures_are_within_range_and_depend_on_their_own_volume_alone(view: str) -> None:
    three = torch.cat([volume(), torch.zeros_like(volume()), volume().flip(3)])
    seen = rendered(three, view)
    assert seen.shape == (3, 1, 64, 64) and seen.min() == -1 and 0 < seen.max() <= 1
    assert (seen[1] == -1).all() and seen[:1].equal(rendered(three[:1], view)) and not seen[0].equal(seen[2])


def test_columns_of_volumes_are_shown_from_all_sides_and_images_stay() -> None:
    image = torch.zeros(1, 1, 8, 8)
    assert list(views_of({"samples": volume()})) == list(VIEWS)
    found = views_of({"photo": image, "shape": volume()})
    assert list(found) == ["photo", *(f"shape, {view}" for view in VIEWS)] and found["photo"] is image


def test_the_surface_is_closed_and_its_volume_is_that_of_the_voxels() -> None:
    """Squares seen from outside: by the divergence theorem they enclose as much as there is, and leave no gap."""
    filled = volume()[0, 0].numpy() > 0
    corners, squares = solids.surface(filled)
    a, b, c, d = (corners[squares[:, number]] for number in range(4))
    enclosed = sum((np.cross(q - p, r - p) * (p + q + r) / 3).sum() / 6 for p, q, r in ((a, b, c), (a, c, d)))
    assert enclosed == pytest.approx(filled.sum() / SIDE**3)
    edges = np.concatenate([squares[:, [i, (i + 1) % 4]] for i in range(4)])
    assert sorted(map(tuple, edges)) == sorted(map(tuple, edges[:, ::-1]))      # each once in either direction


def test_samples_of_volumes_are_files_that_prepare_reads_back(tmp_path: Path) -> None:
    volumes = torch.cat([volume(), volume().flip(2)])
    for folder in ("one", "other"):
        assert write_samples(tmp_path / folder, [3, 7], lambda part: volumes[part], "G", 2, solids.VOLUMES) == 2
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["grid.png", "seed000003.npz", "seed000003.obj", "seed000007.npz", "seed000007.obj"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    for number, seed in enumerate((3, 7)):
        data = (tmp_path / "one" / f"seed{seed:06d}.npz").read_bytes()
        assert (np.load(io.BytesIO(data))["voxels"] == volumes[number, 0].numpy()).all()
        read = Shape("a.npz", data).voxels(SIDE)
        assert (read == 255 * volumes[number].numpy()).all()
        pytest.importorskip("trimesh")
        read = Shape("a.obj", (tmp_path / "one" / f"seed{seed:06d}.obj").read_bytes()).voxels(SIDE)
        assert (read == 255 * volumes[number].numpy()).all()
