"""Moving averages with a half-life in images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import digest, launch
from torch import nn

import scalegan
from scalegan.averages.ema import Ema
from scalegan.averages.power_ema import PowerEma, coefficients, gamma_of, reconstruct, remove_after, store
from scalegan.checkpoints import exports
from scalegan.checkpoints import store as checkpoint_store
from scalegan.commands import export, sample
from scalegan.errors import UserError
from scalegan.models.dcgan import Generator


def network(value: float) -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


def test_half_life_is_in_images_whatever_the_batch() -> None:
    for batch in (10, 100, 500):
        net = network(0.0)
        ema = Ema(net, half_life_images=1000)
        nn.init.constant_(net.weight, 1.0)
        for images in range(batch, 1001, batch):
            ema.update(batch, images)
        assert ema.average.weight.mean().item() == pytest.approx(0.5, abs=1e-4)


def test_ramp_up_shortens_the_beginning() -> None:
    """The half-life is at most 5 % of the images seen before the update: 64 images after 640 leave 2^-2."""
    ema = Ema(network(0.0), half_life_images=10_000, ramp_up=0.05)
    assert ema.decay(64, 64) == 0.0 and ema.decay(64, 704) == pytest.approx(0.25)
    assert ema.decay(64, 200_064) == ema.decay(64, 10**9) == pytest.approx(0.5 ** (64 / 10_000))


def test_no_half_life_copies() -> None:
    net = network(0.0)
    ema = Ema(net, 0)
    nn.init.normal_(net.weight)
    ema.update(64, 64)
    assert ema.average.weight.equal(net.weight)


def test_weights_are_followed_into_other_memory() -> None:
    """Where DeepSpeed's ZeRO-1 and ZeRO-2 put them."""
    net = network(0.0)
    ema = Ema(net, 0)
    net.weight.data = torch.ones(2, 2)
    ema.update(64, 64)
    assert ema.average.weight.equal(net.weight)


def test_buffers_are_copied_not_averaged() -> None:
    net = Generator(16, 3, 4, 8)
    ema = Ema(net, 10_000)
    for buffer in net.buffers():
        buffer.fill_(7)
    ema.update(64, 64)
    assert all((buffer == 7).all() for buffer in ema.average.buffers())
    assert len(list(ema.average.buffers())) == 4


def test_average_is_fp32_frozen_and_in_eval_mode() -> None:
    net = network(1.0).bfloat16().train()
    ema = Ema(net, 1_000_000)
    for step in range(1000):  # in bf16, steps this small would all be lost
        nn.init.constant_(net.weight, 2.0)
        ema.update(64, 64 * (step + 1))
    assert ema.average.weight.dtype == torch.float32
    assert ema.average.weight.mean().item() == pytest.approx(2 - 0.5**0.064, rel=1e-4)
    assert not ema.average.training and not ema.average.weight.requires_grad
    assert net.weight.requires_grad and net.training


# --- power-function averages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_rel, gamma", [(0.05, 16.97), (0.10, 6.94)])
def test_lengths_are_the_papers(sigma_rel: float, gamma: float) -> None:
    """Karras et al. (2024), section 3.1: gamma of the two lengths that are tracked."""
    assert gamma_of(sigma_rel) == pytest.approx(gamma, abs=0.01)
    samples = np.linspace(0, 1, 200_001)
    density = samples ** gamma_of(sigma_rel)
    mean = np.average(samples, weights=density)
    assert np.sqrt(np.average((samples - mean) ** 2, weights=density)) == pytest.approx(sigma_rel, rel=1e-4)


def test_a_power_average_weighs_images_alike_at_any_batch() -> None:
    """If the weights equal the images seen, their average at t is t (gamma + 1) / (gamma + 2), up to half a batch."""
    for batch in (10, 50):
        net = network(0.0)
        ema = PowerEma(net, 0.1)
        for images in range(batch, 5001, batch):
            nn.init.constant_(net.weight, float(images))
            ema.update(batch, images)
        gamma = gamma_of(0.1)
        assert ema.average.weight.mean().item() == pytest.approx(5000 * (gamma + 1) / (gamma + 2), abs=0.6 * batch)


def test_reconstruction_is_a_directly_tracked_average(tmp_path: Path) -> None:
    """For weights that wander and drift, at 3/4 of a run and at its end, for lengths between and around the tracked."""
    batch, steps = 16, 600
    draws = np.random.default_rng(0)
    net = nn.Linear(40, 40)
    tracked = {sigma: PowerEma(net, sigma) for sigma in (0.05, 0.1)}
    direct = {sigma: PowerEma(net, sigma) for sigma in (0.04, 0.07, 0.1, 0.15, 0.2)}
    drift = torch.from_numpy(draws.normal(size=(40, 40)))
    for step in range(1, steps + 1):
        images = step * batch
        with torch.no_grad():
            net.weight += torch.from_numpy(draws.normal(size=(40, 40)) * 0.01) + drift * 0.001
        for ema in (*tracked.values(), *direct.values()):
            ema.update(batch, images)
        if step % 30 == 0 and step < steps:
            store(tmp_path, images, {sigma: {"": ema} for sigma, ema in tracked.items()})
        if step in (450, steps):
            newest = {sigma: dict(ema.average.named_parameters()) for sigma, ema in tracked.items()}
            for sigma, ema in direct.items():
                found = reconstruct(tmp_path, images, step, sigma, newest)["weight"]
                assert (found - ema.average.weight).norm() < 1e-3 * ema.average.weight.norm(), (step, sigma)
                assert (found - net.weight).norm() > 0.02 * net.weight.norm()


def test_many_steps_are_grouped() -> None:
    """A run of a million steps needs no table of a million rows, and has nearly the same coefficients."""
    known = [(images, sigma) for images in range(100, 1001, 100) for sigma in (0.05, 0.1)]
    few, many = (coefficients(known, (1000, 0.08), steps) for steps in (2000, 1_000_000))
    assert few.sum() == pytest.approx(1) and many == pytest.approx(few, abs=2e-3)


def test_snapshots_after_the_resumed_checkpoint_are_removed(tmp_path: Path) -> None:
    for images in (100, 200, 300):
        store(tmp_path, images, {0.05: {"": PowerEma(network(1.0), 0.05)}})
    remove_after(tmp_path, 200)
    assert sorted(path.name for path in (tmp_path / "averages").iterdir()) == [
        f"{images:012d}.safetensors" for images in (100, 200)]


# --- several averages of a run --------------------------------------------------------------------------------------

SEVERAL = ("emas={short: {half_life_images: 100, ramp_up: null}, half: {half_life_images: {kind: step, start: 0, "
           "steps: {1000: 200}}}}", "power_ema={every_images: 128}", "total_images=1280", "engine.reduction=tree",
           "checkpoint.every_images=500")


@pytest.fixture(scope="module")
def several(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("several") / "run"
    launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", *SEVERAL)
    return run


@pytest.mark.slow
def test_averages_resume_bit_for_bit_on_other_ranks(several: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """Snapshots from after the checkpoint are ignored."""
    run = tmp_path / "run"
    launch(2, f"recipe={tiny_recipe}", f"run_dir={run}", *SEVERAL, "total_images=704")
    store(run, 1024, {0.05: {"": PowerEma(network(1.0), 0.05)}})
    launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", *SEVERAL)
    assert digest(run) == digest(several)
    one, other = ({path.name: path.read_bytes() for path in (r / "averages").iterdir()} for r in (run, several))
    assert one == other and len(one) == 10


@pytest.mark.slow
def test_a_run_reconstructs_what_another_tracked(several: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """Averages do not affect training, so two runs of a seed may keep different ones."""
    launch(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path}", *SEVERAL, "power_ema.sigma_rel=[0.07, 0.2]")
    for sigma in (0.07, 0.2):
        direct = checkpoint_store.read(checkpoint_store.complete(tmp_path / "checkpoints")[-1], f"power_ema/{sigma}/")
        found = exports.load(several, sigma_rel=sigma)
        for name, parameter in found.named_parameters():
            tracked = direct[f"power_ema/{sigma}/{name}"]
            assert (parameter - tracked).norm() < 1e-3 * tracked.norm(), (sigma, name)


@pytest.mark.slow
def test_averages_are_sampled_and_exported_by_name(several: Path, tmp_path: Path) -> None:
    weights = {}
    for name, chosen in {"main": [], "short": ["--ema", "short"], "posthoc": ["--ema-sigma-rel", "0.1"],
                         "longer": ["--ema-sigma-rel", "0.2"]}.items():
        out = tmp_path / f"{name}.safetensors"
        assert export.main([str(several), "--out", str(out), *chosen]) == 0
        weights[name] = torch.cat([p.flatten() for p in scalegan.load(out).parameters()])
    stored = checkpoint_store.read(checkpoint_store.complete(several / "checkpoints")[-1])
    for name, group in (("main", "ema"), ("short", "emas/short"), ("posthoc", "power_ema/0.1")):
        tensors = [stored[f"{group}/{key}"].flatten() for key, _ in scalegan.load(several).named_parameters()]
        assert (weights[name] - torch.cat(tensors)).norm() < 1e-6 * weights[name].norm(), name
    assert len({tensor.norm().item() for tensor in weights.values()}) == 4
    assert sample.main([str(several), "--seeds", "0-3", "--ema", "half", "--out", str(tmp_path)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb, chosen, says", [
    (sample, ["--ema", "shrot"], "no average 'shrot'; it has short, half"),
    (export, ["--ema-sigma-rel", "0.5"], "between 0 and 0.289"),
])
def test_missing_averages_are_reported(verb, chosen: list[str], says: str, several: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        verb.main([str(several), *chosen, "--out", str(tmp_path / ("x.safetensors" if verb is export else "x"))])


def test_a_run_without_snapshots_cannot_reconstruct_averages(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"power_ema\.every_images"):
        export.main([str(finished_run), "--ema-sigma-rel", "0.1", "--out", str(tmp_path / "x.safetensors")])
    export.main([str(finished_run), "--out", str(tmp_path / "x.safetensors")])
    with pytest.raises(UserError, match="holds one average"):
        sample.main([str(tmp_path / "x.safetensors"), "--ema", "short", "--out", str(tmp_path)])


@pytest.mark.slow
def test_exports_of_several_averages_do_not_overwrite_each_other(several: Path) -> None:
    for chosen in ([], ["--ema", "short"], ["--ema-sigma-rel", "0.08"]):
        assert export.main([str(several), *chosen]) == 0
    assert sorted(path.name for path in (several / "exports").iterdir()) == [
        f"000000001280{chosen}.safetensors" for chosen in ("-0.08", "-short", "")]
