"""Fixtures for the whole suite. One thread per process, as a test's ranks share the machine's few cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser as browsers
import harness
import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the SLURM tests first: they take the longest, and mostly wait."""
    items.sort(key=lambda item: "slurm" not in item.path.parts)


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., None]) -> object:
    """With `-n`, each process gets whole files, and one process gets all of tests/slurm, which share one SLURM."""
    from xdist.scheduler import LoadFileScheduling

    class JobsTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/slurm" if nodeid.startswith("tests/slurm/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return JobsTogether(config, log)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-labelled shard set of 304 JPEGs of 16 px in five shards of unequal size. Read-only."""
    return harness.make_set(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def tiny_recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small version of the quickstart: 40 updates of a narrow DCGAN on `tiny_set`, tree reduction, lazy R1."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(harness.TINY_RECIPE.format(data=tiny_set))
    return path


@pytest.fixture(scope="session")
def finished_run(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of `tiny_recipe` on one rank. Read-only."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    harness.train(f"recipe={tiny_recipe}", f"run_dir={run}")
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium (tests/browser.py)."""
    with browsers.chromium() as found:
        yield found
