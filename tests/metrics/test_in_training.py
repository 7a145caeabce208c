"""Evaluation during training: results are saved, resumes are bit-exact, and the best checkpoint is kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import harness
import numpy as np
import pytest
import small_games
import torch
from metrics_made import write_stub

from scalegan import config
from scalegan.checkpoints import store
from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.metrics import evaluation, extractors
from scalegan.metrics.generators import samples_of
from scalegan.metrics.images import StoredImages
from scalegan.metrics.in_training import InTraining
from scalegan.metrics.samples import Samples

SPEC = Spec("image", (3, 16, 16))


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stub(tmp_path_factory.mktemp("stub") / "stub.pt")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))


def keys(recipe: Path, run: Path, stub: Path) -> list[str]:
    return [f"recipe={recipe}", f"run_dir={run}", f"eval.extractor={stub}", "eval.every_images=600",
            "eval.metrics=fid,kid", "eval.num_samples=40", "checkpoint.every_images=0"]


@pytest.mark.slow
def test_evaluations_survive_an_interruption_bit_for_bit_and_keep_the_best(tiny_recipe: Path, stub: Path,
                                                                            tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    harness.launch(1, *keys(tiny_recipe, straight, stub))
    harness.launch(1, *keys(tiny_recipe, resumed, stub), "total_images=1280")
    harness.launch(1, *keys(tiny_recipe, resumed, stub))
    rows = [row for row in harness.reports(straight) if "eval/fd" in row]
    assert [row["images"] for row in rows] == [640, 1216, 1856, 2432, 2560]
    assert all(row.keys() == {"images", "eval/fd", "eval/kid", "eval/kid_std"} for row in rows)
    again = [row for row in harness.reports(resumed) if "eval/fd" in row]
    assert [row for row in again if row["images"] != 1280] == rows      # that one was the end of the first session
    assert harness.digest(straight) == harness.digest(resumed)

    best = min(rows, key=lambda row: row["eval/fd"])
    link = straight / "checkpoints" / "best-fd"
    assert link.resolve().name == f"{best['images']:012d}" and store.verify(link) is None
    state = store.metadata_of(store.complete(straight / "checkpoints")[-1])["best"]
    assert (state["fd"]["value"], state["fd"]["images"]) == (best["eval/fd"], best["images"])
    written = [json.loads(line) for line in (straight / "evaluations.jsonl").read_text().splitlines()]
    assert [row["metrics"]["fd"] for row in written] == [row["eval/fd"] for row in rows]


@pytest.mark.slow
def test_a_run_that_evaluates_trains_as_one_that_does_not(tiny_recipe: Path, finished_run: Path, stub: Path,
                                                          tmp_path: Path) -> None:
    harness.launch(1, *keys(tiny_recipe, tmp_path / "run", stub))
    assert harness.digest(tmp_path / "run") == harness.digest(finished_run)


@pytest.mark.slow
def test_figures_go_to_tensorboard(tiny_recipe: Path, stub: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    harness.launch(1, *keys(tiny_recipe, run, stub), "total_images=640", "log.tensorboard=true")
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    logged = [(event.step, event.value) for event in board.Scalars("eval/fd")]
    row = next(row for row in harness.reports(run) if "eval/fd" in row)
    assert logged == [(640, pytest.approx(row["eval/fd"], rel=1e-6))]


@pytest.mark.slow
def test_nothing_of_it_is_imported_where_it_is_off() -> None:
    code = "import sys, scalegan.training.launch; print([m for m in sys.modules if m.startswith('scalegan.metrics')])"
    done = subprocess.run([sys.executable, "-c", code], env=harness.environment(), capture_output=True, text=True,
                          timeout=harness.PATIENCE_SECONDS, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_it_finds_what_evaluating_the_checkpoint_finds(finished_run: Path, tiny_set: Path, stub: Path,
                                                       tmp_path: Path) -> None:
    from scalegan.checkpoints import exports

    generator = exports.load(finished_run)
    shutil.copy(stub, tmp_path / "stub.pt")
    settings = config.Eval(metrics=("fid", "kid"), extractor=str(tmp_path / "stub.pt"), num_samples=40)
    ranks, reals = Ranks(0, 1, torch.device("cpu")), StoredImages(tiny_set)
    game = small_games.game_of("dcgan", *small_games.networks("dcgan"))
    during = InTraining(settings, game, generator.about, reals, ranks, tmp_path)
    kept = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    figures = during({"G": generator}, 2560)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in generator.state_dict().items())
    samples, _ = samples_of(generator, 40, reals)
    extractor = extractors.load(str(stub), None, None, torch.device("cpu"))
    asked = evaluation.Settings(("fid", "kid"), 40)
    assert evaluation.evaluate(samples, reals, extractor, asked, ranks, show=False)["metrics"] == figures


@pytest.mark.slow
def test_held_out_images_are_what_samples_are_measured_against(tiny_recipe: Path, finished_run: Path, stub: Path,
                                                               tmp_path: Path) -> None:
    held_out = harness.make_set(tmp_path / "held_out", (50,), "png")
    run = tmp_path / "run"
    harness.launch(1, *keys(tiny_recipe, run, stub), f"eval.data.path={held_out}")
    assert harness.digest(run) == harness.digest(finished_run)  # evaluating changes neither training nor identity
    during = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    ask = ["--metrics", "fid,kid", "--num-samples", "40", "--extractor", stub]
    own, asked, train = (json.loads(harness.cli("evaluate", *what, *ask).stdout)["metrics"] for what in (
        [run], [finished_run, "--data", held_out], [finished_run]))
    assert own == asked == during["metrics"] != train


def test_only_what_was_measured_alike_is_beaten(stub: Path, tiny_set: Path, tmp_path: Path) -> None:
    def during(samples: int, reals: Path = tiny_set) -> InTraining:
        settings = config.Eval(metrics=("fid", "prdc"), extractor=str(stub), num_samples=samples)
        game = small_games.game_of("dcgan", *small_games.networks("dcgan"))
        alone, about = Ranks(0, 1, torch.device("cpu")), {"spec": vars(SPEC)}
        return InTraining(settings, game, about, StoredImages(reals), alone, tmp_path)

    best: dict = {}
    assert during(10).improved(best, {"fd": 3.0, "recall": 0.2, "kid_std": 1.0}, 100)
    assert not during(10).improved(best, {"fd": 3.0, "recall": 0.1}, 200)
    assert during(10).improved(best, {"fd": 2.5, "recall": 0.1}, 300)
    assert not during(10).improved(best, {"fd": float("nan"), "recall": 0.2}, 400)
    assert (best["fd"]["images"], best["recall"]["images"], set(best)) == (300, 100, {"fd", "recall"})
    assert during(20).improved(best, {"fd": 9.0}, 500) and best["fd"]["value"] == 9.0
    held_out = harness.make_set(tmp_path / "held_out", (12,), "png")
    assert during(20, held_out).improved(best, {"fd": 11.0}, 600) and best["fd"]["images"] == 600
    best["fd"]["measure"] = best["fd"]["measure"].rpartition(" ")[0]     # as before the images were noted
    assert not during(20).improved(best, {"fd": 12.0}, 700) and during(20).improved(best, {"fd": 10.0}, 800)


@pytest.mark.parametrize("key, says", [
    ("eval.data.path=/nowhere", "eval.data.path=/nowhere does not exist"),
    ("eval.data.path=$NOWHERE/x", "eval.data.path=$NOWHERE/x: $NOWHERE is not set"),
    ("eval.data.path={other}", "has images of 20 x 20 px, 3 channels, but the game makes 16 x 16 px, 3 channels"),
])
def test_held_out_images_that_do_not_fit_are_named_before_training(key: str, says: str, tiny_recipe: Path, stub: Path,
                                                                   tmp_path: Path) -> None:
    other = harness.make_set(tmp_path / "other", (20,), "png", size=20)
    code, said = harness.ends(1, *keys(tiny_recipe, tmp_path / "run", stub), key.format(other=other))[0]
    assert code == 2 and says in said
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_what_cannot_be_evaluated_is_said_before_training(tiny_recipe: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from scalegan.config import loading
    from scalegan.training.launch import launch

    monkeypatch.delenv("SCALEGAN_WEIGHTS", raising=False)
    given = [f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", "eval.every_images=600",
             "eval.extractor=inception"]
    with pytest.raises(UserError, match="needs its weights"):
        launch(loading.load(given))


def style_based() -> torch.nn.Module:
    from scalegan.models.stylegan2 import Generator

    torch.manual_seed(0)
    return Generator(resolution=32, channels=3, latent_dim=8, w_dim=8, mapping_layers=2, channel_base=256,
                     channel_max=8).eval()


def test_path_length_of_a_style_based_generator_is_steps_over_epsilon(stub: Path) -> None:
    """Against the direct computation for one sample: mapping, a step of 1e-4 towards another w, the same noise."""
    from scalegan.metrics import path_length
    from scalegan.randomness import Draws

    generator = style_based()
    samples = Samples(generator, 12, (3, 32, 32))
    assert samples.style_based

    def embed(images: torch.Tensor) -> torch.Tensor:
        return images.double().flatten(1)[:, ::7]

    found = path_length.squared_distances(samples, np.arange(6), embed)
    assert torch.equal(found[2:4], path_length.squared_distances(samples, np.arange(2, 4), embed))
    number = torch.tensor([3])
    draws = Draws(0, 0, "evaluate", number)
    with torch.no_grad():
        w = generator.mapping(draws.normal("z", 8))
        other = generator.mapping(Draws(0, 0, "evaluate/path", number).normal("z", 8))
        near = (w.double() + 1e-4 * (other - w).double()).float()
        pictures = [generator.synthesis(each, lambda name, shape: draws.normal(f"noise/{name}", *shape[1:]))
                    for each in (w, near)]
    expected = (embed((pictures[0] - pictures[1]) * 127.5)).square().sum() / 1e-8
    assert float(found[3]) == pytest.approx(float(expected), rel=0.05)     # float32 images, a step of 1e-4

    settings = evaluation.Settings(("ppl",), 12, batch_size=4)
    extractor = extractors.load(str(stub), None, None, torch.device("cpu"))
    ranks = Ranks(0, 1, torch.device("cpu"))
    named = evaluation.evaluate(samples, None, extractor, settings, ranks, show=False)["metrics"]
    assert set(named) == {"pl"} and named["pl"] > 0     # not LPIPS, so not ppl
    lpips = evaluation.Settings(("ppl",), 12, batch_size=4, perceptual=embed)
    assert set(evaluation.evaluate(samples, None, extractor, lpips, ranks, show=False)["metrics"]) == {"ppl"}


@pytest.mark.slow
def test_a_due_checkpoint_is_saved_before_its_evaluation_which_a_resumed_run_makes_up_for(
        tiny_recipe: Path, stub: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    dying = ("import os, sys; from scalegan.metrics.in_training import InTraining; from scalegan.train import main; "
             "InTraining.__call__ = lambda *_: os._exit(9); main(sys.argv[1:])")
    asked = [*keys(tiny_recipe, run, stub), "checkpoint.every_images=600", "total_images=640"]
    done = subprocess.run([sys.executable, "-c", dying, *asked], env=harness.environment(),
                          timeout=harness.PATIENCE_SECONDS)
    assert done.returncode == 9
    newest = store.complete(run / "checkpoints")[-1]
    assert store.verify(newest) is None and store.metadata_of(newest)["evaluation_due"] and newest.name.endswith("640")
    for _ in range(2):      # the second call finds nothing left to be done
        harness.launch(1, *asked)
        assert [row["images"] for row in harness.reports(run) if "eval/fd" in row] == [640]
    assert (run / "checkpoints" / "best-fd").resolve() == newest
