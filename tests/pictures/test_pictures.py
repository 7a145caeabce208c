"""Pictures of samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scalegan.pictures import grids


def test_range_is_rounded_and_clamped() -> None:
    values = torch.tensor([-9.0, -1.0, 0.0, 1 / 127.5, 1.0, 9.0]).reshape(1, 1, 1, 6)
    assert grids.pixels_of(values).ravel().tolist() == [0, 0, 128, 129, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_holds_every_image_in_its_place(channels: int, tmp_path: Path) -> None:
    images = torch.linspace(-1, 1, 7).reshape(7, 1, 1, 1).expand(7, channels, 64, 64)
    grids.save_grid(tmp_path / "grid.png", images, columns=3)
    found = np.array(Image.open(tmp_path / "grid.png").convert("RGB"))
    assert found.shape == (3 * 66 + 2, 3 * 66 + 2, 3)
    expected = grids.pixels_of(images)
    for i in range(7):
        top, left = 2 + i // 3 * 66, 2 + i % 3 * 66
        assert (found[top : top + 64, left : left + 64] == expected[i, 0, 0, 0]).all()
    assert (found[140:200, 80:200] == 255).all()  # nothing where there is no image
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


@pytest.mark.parametrize("samples, rows, blocks", [(3, 3, 1), (8, 8, 1), (9, 3, 3), (24, 6, 4)])
def test_columns_stand_in_blocks_beside_each_other(samples: int, rows: int, blocks: int, tmp_path: Path) -> None:
    """Every sample's row is where the reader looks for it, with all its columns."""
    grey = torch.linspace(-1, 0.5, samples)[:, None, None, None].expand(-1, 1, 64, 64)
    columns = {"x": grey, "a name that is too long for it": -grey.expand(-1, 3, 64, 64)}
    grids.save_columns(tmp_path / "columns.png", columns)
    found = np.array(Image.open(tmp_path / "columns.png"))
    assert found.shape == (12 + rows * 66 + 2, blocks * 134 + (blocks - 1) * 12, 3)
    for i in range(samples):
        top, left = 14 + i % rows * 66, i // rows * 146 + 2
        assert (found[top : top + 64, left : left + 64] == grids.pixels_of(grey)[i, 0, 0, 0]).all()
        assert (found[top : top + 64, left + 66 : left + 130] == grids.pixels_of(-grey)[i, 0, 0, 0]).all()
    assert (found[:12, 132 : 134] == 255).all()     # the long name ends before the next column


def test_small_images_are_enlarged(tmp_path: Path) -> None:
    grids.save_grid(tmp_path / "grid.png", torch.zeros(4, 3, 16, 16), columns=2)
    assert Image.open(tmp_path / "grid.png").size == (4 * (2 * 18 + 2),) * 2


def test_single_image_comes_back(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 16, 16), generator=torch.Generator().manual_seed(0))
    grids.save_image(tmp_path / "one.png", (pixels - 128) / 127.5)
    assert np.array(Image.open(tmp_path / "one.png")).transpose(2, 0, 1).tolist() == pixels.tolist()


def test_points_lie_where_they_are(tmp_path: Path) -> None:
    """One sample, orange, at the upper right of the data, grey."""
    grids.save_points(tmp_path / "points.png", torch.tensor([[1.0, 1.0]]), torch.tensor([[-1.0, -1.0]]))
    found = np.array(Image.open(tmp_path / "points.png")).astype(int)
    rows, columns = np.nonzero(found[..., 0] - found[..., 2] > 100)
    assert len(rows) and rows.max() < 100 and columns.min() > 400
    rows, columns = np.nonzero(found.sum(2) == 3 * 170)
    assert len(rows) and rows.min() > 400 and columns.max() < 100


def test_numbered() -> None:
    assert grids.numbered(Path("."), 120_000).name == "000000120000.png"
