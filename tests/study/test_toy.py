"""The toy study: its losses are those of the games, seeds are independent, the same seeds give the same table."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from harness import cli

from scalegan.study.scores import MODES, score
from scalegan.study.settings import OBJECTIVES, SETTINGS
from scalegan.study.toy import study
from scalegan.study.training import Study, train

SMALL = replace(SETTINGS["ring8"], updates=20, batch_size=32, frequency_g=1.0)
CONTRACT = ["minimax", "non_saturating", "least_squares", "wasserstein_clip", "wgan_gp", "hinge", "ebgan", "ebgan_pt",
            "relativistic", "f_kl", "f_reverse_kl", "f_js", "f_hellinger", "f_pearson", "unrolled"]


def test_every_objective_exists() -> None:
    assert set(CONTRACT) < set(OBJECTIVES)
    assert set(SETTINGS) == {"ring8", "grid25", "moons", "spiral"}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_seed_does_not_depend_on_the_others(objective: str) -> None:
    alone = train(OBJECTIVES[objective], SMALL, "ring8", [3])
    among = train(OBJECTIVES[objective], SMALL, "ring8", [0, 3, 1])
    assert torch.equal(alone[0], among[1])
    assert not torch.equal(among[0], among[1])
    assert alone.isfinite().all()


def test_stacked_networks_equal_separate_ones() -> None:
    """G of the second of three seeds against plain matrix products."""
    study = Study(OBJECTIVES["minimax"], SMALL, "ring8", [0, 1, 2])
    z = torch.randn(3, 5, SMALL.latent_dim)
    weights, x, first = study.g[1], z[1], 0
    for number, (a, b) in enumerate(study.G.shapes):
        matrix, bias = weights[first : first + a * b].view(a, b), weights[first + a * b : first + a * b + b]
        x = x @ matrix + bias
        x = x.sin() if number == 0 else x.relu() if number < len(study.G.shapes) - 1 else x
        first += a * b + b
    assert torch.allclose(study.G(study.g, z)[1], x, atol=1e-5)


def test_weights_are_clipped_and_unrolling_looks_ahead() -> None:
    clipped = replace(OBJECTIVES["wasserstein_clip"], clip=0.05)
    published = train(OBJECTIVES["wasserstein_clip"], SMALL, "ring8", [0])
    assert not torch.equal(train(clipped, SMALL, "ring8", [0]), published)
    plain = replace(OBJECTIVES["unrolled"], unroll=0)
    assert not torch.equal(train(OBJECTIVES["unrolled"], SMALL, "ring8", [0]), train(plain, SMALL, "ring8", [0]))
    assert torch.equal(train(plain, SMALL, "ring8", [0]), train(OBJECTIVES["minimax"], SMALL, "ring8", [0]))


def test_components_and_generators_take_turns() -> None:
    """Sample i is from component i mod K of the mixture, or from generator i mod K, whose last layer is its own."""
    mixed, several = (Study(OBJECTIVES[name], SMALL, "ring8", [0, 1]) for name in ("deligan", "madgan"))
    z = torch.randn(2, 120, SMALL.latent_dim)
    mean, deviation = mixed.mixture(mixed.g)[1, 103 % 50].chunk(2)
    placed = (mean + deviation * z[1, 103])[None, None]
    expected = mixed.G(mixed.g[1:, : mixed.G.size], placed)[0, 0]
    assert torch.allclose(mixed.fakes(mixed.g, z)[1, 103], expected, atol=1e-5)
    of_all = several.G(several.g, z).unflatten(2, (8, 2))
    assert several.fakes(several.g, z)[1, 103].equal(of_all[1, 103, 103 % 8])


def test_consensus_without_its_regulariser_is_simultaneous_gradient_descent() -> None:
    study = Study(replace(OBJECTIVES["consensus"], consensus=0.0), SMALL, "ring8", [0, 1])
    found = study.joint_gradients()
    again = Study(OBJECTIVES["consensus"], SMALL, "ring8", [0, 1])
    reals, fakes = next(again.reals), again.fakes(again.g, next(again.latents["G"]))
    real, fake = again.logits(again.d, reals), again.logits(again.d, fakes)
    of_d = (F.softplus(-real) + F.softplus(fake)).mean(1).sum()
    expected = [torch.autograd.grad(of_d, again.d, retain_graph=True)[0],
                torch.autograd.grad(F.softplus(-fake).mean(1).sum(), again.g)[0]]
    for one, other in zip(found, expected):
        assert torch.allclose(one, other, atol=1e-6) and other.norm() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("objective, updates", [("deligan", 2500), ("unrolled", 2500),
                                                ("minibatch_discrimination", 3000)])
def test_objectives_against_mode_collapse_cover_the_ring(objective: str, updates: int) -> None:
    """All eight modes, so that no plain game can cover more; one seed, in fewer updates than the study."""
    samples, = train(OBJECTIVES[objective], replace(SETTINGS["ring8"], updates=updates), "ring8", [0])
    assert score(samples, *MODES["ring8"])["modes_covered"] == 8


@pytest.mark.slow
def test_wgan_gp_covers_the_grid() -> None:
    """The study's first seed, for most of its length; one mode may be missed where arithmetic differs."""
    samples, = train(OBJECTIVES["wgan_gp"], replace(SETTINGS["grid25"], updates=5000), "grid25", [0])
    found = score(samples, *MODES["grid25"])
    assert found["modes_covered"] >= 24
    assert found["high_quality"] >= 0.5


@pytest.mark.slow
def test_the_command_writes_what_it_prints_and_repeats_exactly(tmp_path: Path) -> None:
    tables = []
    for workers, seeds in ((1, "0-1"), (2, "0,1")):
        out = tmp_path / f"workers{workers}"
        done = cli("study", "toy", "--objectives", "minimax,wgan_gp", "--data", "ring8,moons", "--seeds", seeds,
                   "--updates", 30, "--workers", workers, "--out", out)
        assert done.returncode == 0, done.stderr
        assert "4 of 4: " in done.stderr
        tables.append((out / "table.json").read_text())
        assert (out / "table.md").read_text() in done.stdout
        assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert tables[0] == tables[1]
    rows = json.loads(tables[0])
    assert [(row["objective"], row["data"]) for row in rows] == [
        ("minimax", "ring8"), ("wgan_gp", "ring8"), ("minimax", "moons"), ("wgan_gp", "moons")]
    assert all(row["seeds"] == [0, 1] for row in rows)
    assert rows[0]["modes"] == 8
    assert all(len(rows[0][key]) == 2 for key in ("modes_covered", "high_quality", "reverse_kl"))
    assert all(rows[2][key] is None for key in ("modes", "modes_covered", "high_quality", "reverse_kl"))


@pytest.mark.parametrize("arguments, said", [
    (["--objectives", "minimx"], "did you mean 'minimax'?"), (["--data", "ring9"], "did you mean 'ring8'?"),
    (["--seeds", "a-b"], "'a-b' is not of the form")])
def test_mistakes_end_with_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = cli("study", "toy", *arguments, "--out", tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_picture_has_the_order_asked_for() -> None:
    """Not the order in which cells run, which is longest first."""
    rows, samples = study(["minimax", "wgan_gp"], ["ring8"], [0], workers=1, updates=2)
    assert list(samples) == [("minimax", "ring8"), ("wgan_gp", "ring8")] == [(r["objective"], r["data"]) for r in rows]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")
@pytest.mark.parametrize("by, code, said", [
    (signal.SIGKILL, -9, ""), (signal.SIGINT, 130, "scalegan: interrupted\n")])
def test_workers_end_with_the_study(by: signal.Signals, code: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scalegan", "study", "toy", "--objectives", "minimax", "--data", "ring8",
               "--updates", "1000000", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               start_new_session=True, preexec_fn=_interruptible)
    try:
        tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(tasks.read_text().split()) >= 2)      # the worker and multiprocessing's resource tracker
        children = [Path("/proc") / child for child in tasks.read_text().split()]
        if by is signal.SIGINT:     # Ctrl-C reaches the worker as well, which is still importing
            os.killpg(process.pid, by)
        else:
            process.send_signal(by)
        assert process.wait(60) == code
        until(lambda: not any(child.exists() for child in children))
        told = process.stderr.read()
        assert said in told and "KeyboardInterrupt" not in told
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _interruptible() -> None:
    """As in a terminal, also where the tests run in the background, which ignores interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("not within a minute")
