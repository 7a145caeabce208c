"""A Mac's GPU: chosen where it is, and nothing on it is float64, which it lacks.

No Mac is needed for most of this: a dispatch mode refuses float64 on the CPU as MPS would.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import harness
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from scalegan.augment import bands, geometry
from scalegan.config import Engine
from scalegan.engines import choice, ranks
from scalegan.engines.precision import choose_precision
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.games.compiled import check_compiler
from scalegan.kernels import on_gpu, philox
from scalegan.metrics.gaussian import Moments
from scalegan.models.layers import resample
from scalegan.support import devices

MPS = torch.device("mps")
RECIPE = """# A family in small
extends: [_base/{base}]
data: {{path: "{data}", resolution: 32, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
model: {{{model}}}
batch_size: 16
micro_batch_size: 8
lanes: 4
precision: fp32
total_images: 64
log: {{every_images: 32, tensorboard: false}}
checkpoint: {{every_images: 32}}
snapshot: {{every_images: 64, rows: 2, columns: 4}}
"""
FAMILIES = {    # StyleGAN2 has path length regularisation and ADA, R3GAN schedules
    "stylegan2": ("stylegan2_f", "channel_base: 256, channel_max: 16, latent_dim: 16, w_dim: 16, mapping_layers: 2, "
                                 "mbstd_group: 4"),
    "r3gan": ("r3gan", "width: 16, cardinality: 4, blocks: 1, latent_dim: 8"),
    "biggan": ("biggan", "width: 4, latent_dim: 8, norm_group: 4"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.make_set(tmp_path_factory.mktemp("set") / "set", size=32)


def keys(family: str, images: Path, folder: Path) -> tuple[str, ...]:
    base, model = FAMILIES[family]
    (folder / "tiny.yaml").write_text(RECIPE.format(base=base, model=model, data=images))
    return f"recipe={folder / 'tiny.yaml'}", f"run_dir={folder / 'run'}"


class NoFloat64(TorchDispatchMode):
    """Raises where an operation makes a tensor of float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(found)):
            raise UserError(f"{func} makes a tensor of float64")
        return found


def lack_float64() -> None:
    """Makes this process's CPU a device without float64, but for what every device has the host make: draws (on MPS)
    and the constants of filters."""
    for module, name in ((philox, "draw"), (resample, "_kernel"), (geometry, "constant"), (bands, "constant")):
        setattr(module, name, partial(_on_the_host, getattr(module, name)))
    devices.has_float64 = lambda device: False
    NoFloat64().__enter__()


def _on_the_host(work: Callable, *args: Any) -> Any:
    with _disable_current_modes():
        return work(*args)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_training_makes_no_float64_on_a_device_without_it(family: str, images: Path, tmp_path: Path) -> None:
    assert harness.ends(1, *keys(family, images, tmp_path), before=lack_float64) == [(0, "")]


@pytest.mark.slow
def test_the_mode_sees_what_training_does(images: Path, tmp_path: Path) -> None:
    (code, message), = harness.ends(1, *keys("biggan", images, tmp_path), before=NoFloat64().__enter__)
    assert code and "makes a tensor of float64" in message


def test_the_device_is_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, wish, found in ((True, True, "", "cuda"), (True, False, "true", "cuda"), (False, True, "", "mps"),
                                   (False, True, "true", "cpu"), (False, True, "false", "mps"),
                                   (False, False, "", "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        monkeypatch.setenv("ACCELERATE_USE_CPU", wish)
        assert devices.available().type == found


def test_no_other_place_chooses_a_device() -> None:
    choosing = '"cuda" if torch.cuda.is_available()'
    assert [path for path in (harness.ROOT / "scalegan").rglob("*.py") if choosing in path.read_text()] == []


def test_what_a_mac_cannot_do_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: MPS)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for refused, word in ((ranks.join, "one rank"), (lambda: check_compiler(MPS), r"engine\.compile"),
                          (lambda: choice.make(Engine(name="deepspeed"), None, {}, Ranks(0, 1, MPS), 1, "fp32"),
                           "deepspeed")):
        with pytest.raises(UserError, match=word) as error:
            refused()
        assert "Mac" in str(error.value) and "\n" not in str(error.value)


def test_precision_kernels_and_types_suit_a_mac() -> None:
    assert choose_precision("auto", MPS) == "fp32" and choose_precision("bf16", MPS) == "bf16"
    assert devices.widest(MPS) == torch.float32 and devices.widest(torch.device("cpu")) == torch.float64
    assert not on_gpu(torch.empty(1)) and on_gpu(torch.empty(1, device="meta"))
    assert devices.double(torch.ones(2)).dtype == torch.float64


@pytest.mark.mps
def test_draws_and_moments_on_a_mac_are_those_of_the_cpu() -> None:
    if not torch.backends.mps.is_available():
        pytest.skip("needs a Mac's GPU (MPS)")
    positions = torch.arange(100)
    for kind, high in (("normal", 0), ("uniform", 0), ("integers", 7)):
        here, = philox.draw(kind, [3], [33], positions, high)
        there, = philox.draw(kind, [3], [33], positions.to(MPS), high)
        assert there.device.type == "mps" and torch.equal(here, there.cpu())
    vectors = torch.randn(10, 3)
    assert torch.equal(Moments.of(vectors).packed(), Moments.of(vectors.to(MPS)).packed())


@pytest.mark.mps
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mac_trains_resumes_and_samples(family: str, images: Path, tmp_path: Path) -> None:
    if not torch.backends.mps.is_available():
        pytest.skip("needs a Mac's GPU (MPS)")
    for total in (32, 64):
        harness.train(*keys(family, images, tmp_path), f"total_images={total}")
    assert harness.cli("sample", tmp_path / "run", "--out", tmp_path / "grid.png").returncode == 0
