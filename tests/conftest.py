"""Fixtures of the whole suite. One thread per process: the ranks of a test share the machine's few cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

from pathlib import Path

import harness
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-labelled shard set of 304 JPEGs of 16 px in five shards of unequal size. Not to be written to."""
    return harness.make_set(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def tiny_recipe(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's recipe in small: 40 updates of a narrow DCGAN on `tiny_set`, tree reduction, a lazy R1."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(harness.TINY_RECIPE.format(data=tiny_set))
    return path


@pytest.fixture(scope="session")
def finished_run(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a straight run of `tiny_recipe` on one rank. Not to be written to."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    harness.train(f"recipe={tiny_recipe}", f"run_dir={run}")
    return run
