"""Style-mixing grids and truncation sweeps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_generators import generator, saved

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands.interpolate import main
from scalegan.latents.mixing import mixed
from scalegan.pictures.grids import pixels_of


@pytest.mark.slow
def test_mixtures_have_coarse_styles_of_rows_and_fine_ones_of_columns() -> None:
    made = generator("StyleGAN2")       # 16 px: styles of 4 px, 8 px twice, 16 px twice, and the colours of 16 px
    grid = mixed(made, rows=[3, 4], columns=[5, 6, 3], psi=0.8)
    assert grid.shape == (3, 4, 3, 16, 16) and (grid[0, 0] == 1).all()
    torch.testing.assert_close(grid[0, 1:], exports.sample(made, [5, 6, 3], None, 0.8), rtol=0, atol=1e-5)
    torch.testing.assert_close(grid[1:, 0], exports.sample(made, [3, 4], None, 0.8), rtol=0, atol=1e-5)
    torch.testing.assert_close(grid[1, 3], grid[1, 0], rtol=0, atol=1e-5)        # seed 3 mixed with itself
    seen = []
    made.synthesis.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    mixed(made, [3], [5])
    sources, ws = seen
    assert ws.shape == (1, 6, 10)
    assert (ws[0, :3] == sources[1, :3]).all() and (ws[0, 3:] == sources[0, 3:]).all()


def cells(path: Path, rows: int, columns: int, side: int) -> np.ndarray:
    """The images of a grid that was enlarged, [rows, columns, side, side, C]."""
    factor = 64 // side
    sheet = np.array(Image.open(path))[::factor, ::factor]
    return np.stack([[sheet[2 + r * (side + 2):, 2 + c * (side + 2):][:side, :side] for c in range(columns)]
                     for r in range(rows)])


@pytest.mark.slow
def test_a_truncation_sweep_has_a_row_for_each_seed_and_a_column_for_each_psi(tmp_path: Path) -> None:
    export = saved("StyleGAN2", tmp_path / "G.safetensors")
    assert main([str(export), "--seeds", "7,2", "--truncation", "0,0.5,1", "--out", str(tmp_path / "sweep.png")]) == 0
    grid, made = cells(tmp_path / "sweep.png", 2, 3, 16), scalegan.load(export)
    for column, psi in enumerate((0.0, 0.5, 1.0)):
        assert np.array_equal(grid[:, column], pixels_of(exports.sample(made, [7, 2], None, psi)))
    assert np.array_equal(grid[0, 0], grid[1, 0]) and not np.array_equal(grid[0, 2], grid[1, 2])


@pytest.mark.slow
def test_the_command_draws_the_grid_of_mixtures(tmp_path: Path) -> None:
    export, out = saved("StyleGAN2", tmp_path / "G.safetensors"), tmp_path / "deep" / "mixed.png"
    assert main([str(export), "--seeds", "3", "--mix", "5,6", "--psi", "0.7", "--out", str(out)]) == 0
    expected = pixels_of(mixed(scalegan.load(export), [3], [5, 6], psi=0.7).flatten(0, 1))
    assert np.array_equal(cells(out, 2, 3, 16).reshape(expected.shape), expected)
