"""The figures of shapes that `tools/voxel_shapes.py` prints."""

import pytest
import sources_made as made
import torch

from tools.voxel_shapes import figures, probed, similarity


def test_similarity_is_intersection_over_union() -> None:
    cube = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    cube[0, :2, :2, :2] = True
    moved, empty = cube.roll(1, 1), torch.zeros_like(cube)
    found = similarity(torch.cat([cube, moved, empty]), torch.cat([cube, empty]))
    assert found.flatten().tolist() == pytest.approx([1, 0, 4 / 12, 0, 0, 0])


def test_real_shapes_are_recognised_and_scattered_voxels_are_no_body() -> None:
    known = torch.stack([torch.from_numpy(made.box(number))[0] > 0 for number in range(40)])
    labels = torch.arange(40) % 2
    found, classes = figures(known[:10], known, labels, ("flat", "tall"))
    assert found["iou"] == found["one_body"] == 1 and classes.equal(labels[:10])
    assert found["classes"] == {"flat": 5, "tall": 5} and found["recognised"] == 1
    dust = torch.rand(6, 16, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9
    found, _ = figures(dust, known, labels, ("flat", "tall"))
    assert found["one_body"] == 0 and found["iou"] < 0.2 and 0.05 < found["filled"] < 0.15


def test_a_probe_of_some_shapes_knows_others() -> None:
    shapes = torch.stack([torch.from_numpy(made.box(number))[0] > 0 for number in range(40)])
    answers, = probed(shapes[:30], torch.arange(30) % 2, [shapes[30:]])
    assert answers.shape == (10, 2) and (answers.argmax(1) == (torch.arange(30, 40) % 2).numpy()).all()
