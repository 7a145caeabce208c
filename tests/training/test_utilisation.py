"""Operation counts, the share of the peak in reports, and the profiler trace."""

import json
from pathlib import Path

import pytest
import torch
from harness import digest, launch, reports, samples
from small_games import SAMPLES, Witness, batch_of, networks
from torch.utils.flop_counter import FlopCounterMode

from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.data.opening import open_sources
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.fakes import StyledFakes, plain_fakes
from scalegan.games.gan.game import GAN
from scalegan.losses import LOSSES
from scalegan.models import r3gan
from scalegan.training import launch as launching
from scalegan.training import trainer
from scalegan.training.utilisation import Utilisation, data_sheet_flops, peak_flops

CPU = torch.device("cpu")


def r3gan_without_groups() -> tuple[torch.nn.Module, torch.nn.Module]:
    return r3gan.Generator(32, width=16, cardinality=1, num_classes=3), \
        r3gan.Discriminator(32, width=16, cardinality=1, num_classes=3)


@pytest.mark.parametrize("family", ["dcgan", "biggan", pytest.param("biggan_deep", marks=pytest.mark.slow), "stylegan2",
                                    "r3gan"])
def test_an_update_costs_what_torchs_counter_says_and_counting_leaves_its_bits(family: str) -> None:
    nets = r3gan_without_groups() if family == "r3gan" else networks(family)
    # No penalties: torch's counter fails where gradients are taken with respect to leaves.
    game = GAN(*nets, LOSSES["non_saturating"], fakes_of=StyledFakes(0.0) if family == "stylegan2" else plain_fakes)
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    engine = DDPEngine(game, witnesses, Ranks(0, 1, CPU), SAMPLES)
    utilisation = Utilisation(1.0)
    for phase in game.phases:
        batch, state = batch_of(family, phase.name), {k: v.clone() for k, v in game.state_dict().items()}
        with FlopCounterMode(display=False) as theirs:
            engine.update(phase, batch)
        game.load_state_dict(state)
        engine.update(phase, batch)
        plain = [g for player in phase.players for g in witnesses[player].found]
        game.load_state_dict(state)
        with utilisation.update(phase.name):
            engine.update(phase, batch)
        counted = [g for player in phase.players for g in witnesses[player].found]
        assert utilisation.of_phases[phase.name] == theirs.get_total_flops() > 0
        assert all(torch.equal(one, other) for one, other in zip(plain, counted, strict=True))


def test_gradients_of_a_grouped_convolution_cost_what_it_costs_itself() -> None:
    x, w = torch.randn(2, 8, 5, 5, requires_grad=True), torch.randn(8, 2, 3, 3, requires_grad=True)
    utilisation = Utilisation(1.0)
    with utilisation.update("D"):
        torch.nn.functional.conv2d(x, w, padding=1, groups=4).sum().backward()
    assert utilisation.of_phases["D"] == 3 * 2 * (2 * 8 * 25) * (2 * 9)


def test_time_at_peak_covers_all_updates_since_the_last_call() -> None:
    utilisation = Utilisation(peak=1000.0, promised=4000.0)
    for _ in range(3):
        with utilisation.update("G"):
            torch.ones(2, 5) @ torch.ones(5, 10)
    assert utilisation.take_seconds() == {"mfu": 3 * 200 / 1000, "mfu_of_data_sheet": 3 * 200 / 4000}
    assert utilisation.take_seconds() == {"mfu": 0, "mfu_of_data_sheet": 0}


@pytest.mark.parametrize("name, precision, tf32, flops", [
    ("NVIDIA H100 80GB HBM3", "bf16", True, 989e12), ("NVIDIA H100 80GB HBM3", "fp32", True, 494e12),
    ("NVIDIA H100 80GB HBM3", "fp32", False, 67e12), ("Tesla V100-SXM2-32GB", "fp32", True, 15.7e12),
    ("Tesla V100-SXM2-32GB", "bf16", True, None), ("Some other GPU", "bf16", True, None)])
def test_data_sheets(name: str, precision: str, tf32: bool, flops: float | None,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    assert data_sheet_flops(torch.device("cuda", 0), precision) == flops
    assert data_sheet_flops(CPU, precision) is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_peak_is_measured_without_the_global_random_numbers(precision: str) -> None:
    before = torch.get_rng_state()
    assert peak_flops(CPU, precision) > 1e6
    assert torch.equal(torch.get_rng_state(), before)


def test_compiled_updates_count_what_eager_ones_cost(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = loading.load([f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", "log.profile_updates=1000"])
    run = launching.assemble(recipe, Ranks(0, 1, CPU), check_world(recipe, 1))
    stream = run.open_streams(0)
    trainer.play_iteration(run, stream)
    stream.close()
    run.lock.release()
    specs = {name: source.spec for name, source in open_sources(recipe).items()}
    # The estimate embeds labels as rows, by a small product.
    assert launching._flops_if_eager(recipe, specs, run) == pytest.approx(run.utilisation.of_phases, rel=0.02)
    assert set(run.utilisation.of_phases) == {"D", "D.r1", "G"}


@pytest.mark.slow
def test_a_trace_holds_the_updates_asked_for_and_changes_nothing(tiny_recipe: Path, finished_run: Path,
                                                                 tmp_path: Path) -> None:
    launch(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", "log.profile_updates=5")
    trace, table = sorted((tmp_path / "run" / "profile").iterdir())
    assert trace.suffix == ".json" and table.name == trace.with_suffix(".txt").name
    events = json.loads(trace.read_text())["traceEvents"]
    updates = [event["name"] for event in events if event.get("name", "").startswith("update of")
               and event.get("cat") == "user_annotation"]
    # D, D.r1 and G moved in the first iteration, D in the second; D.r1 is due again in the fifth.
    assert updates == ["update of G", "update of D", "update of G", "update of D", "update of G"]
    assert int(trace.stem) == 2 * 64
    assert "aten::convolution_backward" in table.read_text()
    assert not (finished_run / "profile").exists()
    assert digest(tmp_path / "run") == digest(finished_run)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < row["mfu"] < 1 for row in rows) and "mfu" not in (finished_run / "metrics.jsonl").read_text()
    assert reports(tmp_path / "run") == reports(finished_run) and samples(tmp_path / "run") == samples(finished_run)


@pytest.mark.slow
def test_a_run_shorter_than_its_trace_writes_what_it_traced(tiny_recipe: Path, tmp_path: Path) -> None:
    launch(1, f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", "log.profile_updates=1000", "total_images=256")
    assert len(list((tmp_path / "run" / "profile").iterdir())) == 2
