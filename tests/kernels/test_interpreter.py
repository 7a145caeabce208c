"""Kernels in Triton without a GPU: what a GPU is to be held to, held to by Triton's interpreter in its own process."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from harness import ROOT, environment

from scalegan import kernels
from scalegan.kernels import philox
from scalegan.randomness import Draws

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: pip install -e '.[dev]'")
@pytest.mark.parametrize("name", ["test_philox.py", "test_leaky.py", "test_bilinear.py", "test_fir.py"])
def test_kernels_agree_with_their_references(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / name)]
    done = subprocess.run(command, cwd=ROOT, env=environment(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES=""),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


def test_without_a_kernel_the_reference_draws_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where triton is missing: here there is no GPU to compile for."""
    def broken(*args: object) -> None:
        raise ImportError("No module named 'triton'")
    monkeypatch.setattr(philox, "_in_one_kernel", broken)
    monkeypatch.setattr(kernels, "_refused", set())
    positions, key = torch.arange(5), 2**64 - 3
    with pytest.warns(RuntimeWarning, match=r"fused kernel philox .* No module named 'triton'"):
        found = torch.ops.scalegan.philox("normal", [7, key - 2**64], [3, 40], positions, 0)
    for kind, high in (("normal", 0), ("uniform", 0), ("integers", 9)):
        found = torch.ops.scalegan.philox(kind, [7, key - 2**64], [3, 40], positions, high)
        expected = philox.draw(kind, [7, key], [3, 40], positions, high)
        assert found.equal(torch.cat([part.flatten() for part in expected]))


def test_memory_that_runs_out_is_no_reason_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError
    monkeypatch.setattr(kernels, "_refused", set())
    with pytest.raises(torch.OutOfMemoryError):
        kernels.run("philox", full, lambda: None)


@pytest.mark.parametrize("draw", [lambda d: d.uniform("x", 3, 5), lambda d: d.normal("x", 4), lambda d: d.normal("x"),
                                  lambda d: d.integers("x", 9, 2), lambda d: d.normals({"x": (2,), "y": (1, 3)})["y"]])
def test_the_operator_tells_compilers_its_shapes(draw: object) -> None:
    expected = draw(Draws(0, 0, "G", torch.arange(6)))
    found = draw(Draws(0, 0, "G", torch.arange(6, device="meta")))
    assert found.shape == expected.shape and found.dtype == expected.dtype and found.device.type == "meta"
