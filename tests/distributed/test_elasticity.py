"""One recipe, any number of ranks and of loader workers: with tree reduction, the same bits."""

from pathlib import Path

import pytest
from harness import digest, launch, reports, samples, train

pytestmark = pytest.mark.slow


def settings(recipe: Path, run: Path, precision: str, workers: int) -> list[str]:
    return [f"recipe={recipe}", f"run_dir={run}", f"precision={precision}", f"data.workers={workers}"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ranks_and_workers_change_no_bit(precision: str, tiny_recipe: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    launch(1, *settings(tiny_recipe, alone, precision, 0))
    for ranks, workers in ((1, 2), (2, 1), (2, 3), (4, 0), (4, 3)):
        run = tmp_path / f"{ranks}-{workers}"
        launch(ranks, *settings(tiny_recipe, run, precision, workers))
        assert digest(run) == digest(alone), f"{ranks} ranks, {workers} workers"
        assert samples(run) == samples(alone)
        assert reports(run) == reports(alone)


@pytest.mark.parametrize("ranks, workers", [(2, 2), (4, 1)])
def test_torchrun_gives_the_bits_of_plain_python(ranks: int, workers: int, tiny_recipe: Path, finished_run: Path,
                                                 tmp_path: Path) -> None:
    train(*settings(tiny_recipe, tmp_path / "run", "fp32", workers), ranks=ranks)
    assert digest(tmp_path / "run") == digest(finished_run)


def test_precisions_are_different_runs(tiny_recipe: Path, finished_run: Path, tmp_path: Path) -> None:
    """The tests above could not pass with precision ignored."""
    launch(1, *settings(tiny_recipe, tmp_path / "run", "bf16", 0))
    assert digest(tmp_path / "run") != digest(finished_run)


def test_resumed_on_other_numbers_of_ranks(tiny_recipe: Path, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for ranks, workers, images in ((1, 0, 640), (4, 1, 1280), (2, 0, 1920), (1, 2, 2560)):
        launch(ranks, *settings(tiny_recipe, run, "fp32", workers), f"total_images={images}")
    assert digest(run) == digest(finished_run)


def test_another_micro_batch_size_changes_the_sums(tiny_recipe: Path, finished_run: Path, tmp_path: Path) -> None:
    """Digests are equal because of the micro-batches, not because sums happened to be exact."""
    launch(1, *settings(tiny_recipe, tmp_path / "run", "fp32", 0), "micro_batch_size=32")
    assert digest(tmp_path / "run") != digest(finished_run)


def test_fast_reduction_starts_alike(tiny_recipe: Path, tmp_path: Path) -> None:
    """Float noise grows later on; the first three steps agree to 1e-4."""
    runs = {ranks: tmp_path / str(ranks) for ranks in (1, 2, 4)}
    for ranks, run in runs.items():
        launch(ranks, *settings(tiny_recipe, run, "fp32", 0), "engine.reduction=fast", "total_images=192",
               "log.every_images=64")
    expected = reports(runs[1])
    assert [row["images"] for row in expected] == [64, 128, 192]
    for ranks in (2, 4):
        for row, expected_row in zip(reports(runs[ranks]), expected, strict=True):
            assert row == pytest.approx(expected_row, rel=1e-4)
