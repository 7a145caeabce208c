"""Tests that need a CUDA device: the same bits twice and after a restart, and the CPU's random integers."""

import subprocess
from pathlib import Path

import pytest
import torch
from harness import digest, environment, train_command

from scalegan.data.reading.stream import StoredBatch
from scalegan.kernels.philox import words
from scalegan.randomness import Draws
from scalegan.training.batch_loader import BatchLoader, StreamSettings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def train(*arguments: object) -> None:
    subprocess.run(train_command(*arguments), env=environment(CUDA_VISIBLE_DEVICES="0"), check=True, timeout=600)


@pytest.mark.parametrize("keys", [("precision=fp32",), ("precision=bf16",), ("precision=fp16",),
                                  ("precision=bf16", "engine.name=fsdp", "engine.reduction=fast")], ids=" ".join)
def test_the_same_bits_twice_and_after_a_restart(keys: tuple[str, ...], tiny_recipe: Path, tmp_path: Path) -> None:
    common = (f"recipe={tiny_recipe}", *keys, "data.workers=1")
    for name in ("one", "two"):
        train(*common, f"run_dir={tmp_path / name}")
    train(*common, f"run_dir={tmp_path / 'moved'}", "total_images=1280")
    train(*common, f"run_dir={tmp_path / 'moved'}")
    assert digest(tmp_path / "one") == digest(tmp_path / "two") == digest(tmp_path / "moved")


def test_batches_arrive_intact_while_the_gpu_computes() -> None:
    """They are copied on a separate CUDA stream."""
    here, there = (BatchLoader(0, 0, 64, 0, torch.device(name), {"real": StreamSettings(True)})
                   for name in ("cpu", "cuda"))
    busy = torch.randn(4096, 4096, device="cuda")
    for position in range(0, 64 * 50, 64):
        samples = torch.randint(0, 256, (64, 3, 64, 64), dtype=torch.uint8)
        busy = (busy @ busy).tanh()
        found = there.prepare({"real": StoredBatch(position, samples.pin_memory(), None)})["real"].data
        expected = here.prepare({"real": StoredBatch(position, samples, None)})["real"].data
        torch.testing.assert_close(found.cpu(), expected)


def test_draws_are_the_cpus() -> None:
    positions = torch.arange(1000) * 7919
    assert torch.equal(words(12345, positions.cuda(), 4).cpu(), words(12345, positions, 4))
    here, there = (Draws(0, 0, "test", p) for p in (positions, positions.cuda()))
    assert there.uniform("u", 64).cpu().equal(here.uniform("u", 64))
    assert there.integers("i", 1000, 64).cpu().equal(here.integers("i", 1000, 64))
    torch.testing.assert_close(there.normal("z", 64).cpu(), here.normal("z", 64), rtol=2e-7, atol=1e-12)
    planes = {"a": (1, 4, 4), "b": (1, 256, 256)}
    together = there.normals(planes)
    assert all(together[name].equal(there.normal(name, *shape)) for name, shape in planes.items())
