"""The plan's arithmetic against small measured cases: real tensors, real ranks and real files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from harness import cli, launch, spawn

from scalegan.commands.plan import main
from scalegan.config import Recipe, loading
from scalegan.data.spec import Spec
from scalegan.engines import optimizers
from scalegan.games.base import Batch
from scalegan.randomness import Draws
from scalegan.training import build
from scalegan.training.costs import Costs, Meter, measure
from scalegan.training.plan import GPUS, exchange, held_bytes, plan, traffic

MICRO_BATCH, SHARE = 4, 16
SPECS = {"real": Spec("image", (3, 32, 32))}


def small(ranks: int = 2, reduction: str = "fast") -> Recipe:
    """R3GAN, whose gradients are large beside its activations."""
    return loading.parse({
        "run_dir": "-", "total_images": 64, "batch_size": SHARE * ranks, "lanes": ranks,
        "micro_batch_size": MICRO_BATCH,
        "data": {"path": "-", "resolution": 32, "labels": "none"}, "engine": {"reduction": reduction},
        "model": {"name": "r3gan", "widths": [512, 8, 8, 8], "cardinalities": [8, 2, 2, 2], "blocks": 1},
        "game": {"loss": "relativistic", "penalties": {"r1": {"gamma": 1}}, "fresh_batch": ["D", "G"]},
        "precision": "fp32"}, "test")


def batch(phase: str, first: int, samples: int) -> Batch:
    draws = Draws(0, 0, phase, torch.arange(first, first + samples))
    return Batch.of(draws.normal("real", 3, 32, 32), draws)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensors_without_data_cost_what_real_ones_do(precision: str) -> None:
    costs = Costs(small(), SPECS, precision)
    game = build.game(small(), SPECS)
    for phase, real in zip(costs.game.phases, game.phases, strict=True):
        planned = costs.micro_batch(phase, MICRO_BATCH)
        found = measure(game, real, batch(phase.name, 0, MICRO_BATCH), precision)
        assert (planned.flops, planned.gradients, planned.others) == (found.flops, found.gradients, found.others)
        assert planned.peak_bytes == pytest.approx(found.peak_bytes, rel=0.01)


def test_operations_are_those_of_torchs_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ConvTranspose2d(8, 4, 4, 2), torch.nn.Flatten(),
                                  torch.nn.LazyLinear(1))
    x = torch.zeros(2, 3, 16, 16, requires_grad=True)
    network(x)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    with Meter(network.parameters()) as meter:
        network(x).sum().backward()
    assert meter.flops == counter.get_total_flops()


def _measured(ranks: Any, engine: str, stage: int, reduction: str) -> dict[str, Any]:
    """One update of every phase: peak bytes beside weights and state, bytes passed to collectives, and state."""
    settings = small(ranks.world_size, reduction)
    game = build.game(settings, SPECS)
    of_players = optimizers.make(settings.optimizer, game)
    if engine == "ddp":
        from scalegan.engines.ddp import DDPEngine

        running = DDPEngine(game, of_players, ranks, MICRO_BATCH, "fp32", reduction == "tree")
    else:
        from scalegan.engines.deepspeed import DeepSpeedEngine

        running = DeepSpeedEngine(game, of_players, ranks, MICRO_BATCH, "fp32", stage)
    sent = _count_collectives()
    found: dict[str, Any] = {"phases": {}}
    for phase in game.phases:
        mine = batch(phase.name, ranks.rank * SHARE, SHARE)
        sent.clear()
        held = [value for o in of_players.values() for state in o.state.values() for value in state.values()]
        with Meter([*game.parameters(), *game.buffers(), mine.reals, *held]) as meter:
            running.update(phase, mine)
        found["phases"][phase.name] = meter.peak, sum(sent)
    found["optimizer"] = sum(value.nbytes for value in held)
    found["weights"] = sum(parameter.nbytes for parameter in game.parameters())
    return found


def _count_collectives() -> list[int]:
    """A list that grows by the bytes passed to each collective from now on."""
    sent: list[int] = []

    def spy(name: str) -> None:
        original = getattr(dist, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            first = arguments[0] if arguments else options["tensor"]
            tensors = [first] if isinstance(first, torch.Tensor) else [op.tensor for op in first if op.op is dist.isend]
            sent.append(sum(tensor.nbytes for tensor in tensors))
            return original(*arguments, **options)
        setattr(dist, name, counted)

    for name in ("all_reduce", "batch_isend_irecv"):
        spy(name)
    return sent


CASES = {"ddp": ("ddp", 0, "fast"), "ddp, tree": ("ddp", 0, "tree"), "zero1": ("deepspeed", 1, "fast"),
         "zero2": ("deepspeed", 2, "fast")}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_memory_and_traffic_are_those_of_two_real_ranks(case: str) -> None:
    if case.startswith("zero"):
        pytest.importorskip("deepspeed", reason="needs the extra [deepspeed]")
    kind, (*_, reduction) = case.split(",")[0], CASES[case]
    found = spawn(2, _measured, *CASES[case])[0]
    costs, micro_batches = Costs(small(2, reduction), SPECS), SHARE // MICRO_BATCH
    assert found["weights"] == costs.state.weights
    share = 1 if kind == "ddp" else 2
    assert found["optimizer"] == pytest.approx(costs.state.optimizer / share, rel=0.01)
    for phase in costs.game.phases:
        cost, (peak, sent) = costs.micro_batch(phase, MICRO_BATCH), found["phases"][phase.name]
        held = exchange(cost, kind, 2, micro_batches)
        memory = max(cost.peak_bytes + held.during_micro_batch, held.after)
        assert 0.95 * peak < memory < (1.1 if kind == "ddp" else 1.35) * peak, phase.name   # ZeRO's is an upper bound
        planned = traffic(cost, kind, 2, micro_batches, reduction)
        if kind == "ddp":       # on two ranks a ring sends as many bytes as the vector has, and so does the tree
            assert planned == sent
        else:                   # the spies miss the gathered weights, for which DeepSpeed has its own function
            assert planned - cost.gradients * 4 / 2 == pytest.approx(sent, abs=64)


def test_checkpoint_bytes_are_those_of_the_files(tiny_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = [f"recipe={tiny_recipe}", "emas={short: {half_life_images: 100}}", "power_ema={every_images: 64}"]
    launch(2, *given, f"run_dir={run}", "total_images=64", "snapshot.every_images=0")
    files = [path.read_bytes() for path in run.glob("checkpoints/*/*.safetensors")]
    sizes = [len(file) - 8 - int.from_bytes(file[:8], "little") for file in files]      # tensors without headers
    costs = Costs(loading.load(given), {"real": Spec("image", (3, 16, 16), classes=4)})
    assert sum(sizes) == costs.state.checkpoint
    assert len(sizes) == 2 and max(sizes) < 1.2 * sum(sizes) / 2


def test_zero_divides_the_optimizer_state_but_not_the_weights() -> None:
    state = Costs(small(), SPECS).state
    whole = held_bytes(state, "ddp", 8)
    assert whole == state.checkpoint
    divided = state.optimizer + 2 * state.weights
    assert held_bytes(state, "zero1", 8) == pytest.approx(whole - state.optimizer + divided / 8, abs=8)


def test_impossible_numbers_of_ranks_are_reported() -> None:
    settings = small(2)
    row = plan("small", settings, Costs(settings, SPECS), "ddp", 64, GPUS["h200"], 0.2)
    assert "64 ranks do not divide lanes=2; use 2 ranks" in row.problem and row.memory_bytes == 0


def test_hours_follow_from_operations_and_bytes() -> None:
    settings = small(1)
    costs = Costs(settings, SPECS)
    row = plan("small", settings, costs, "ddp", 1, GPUS["a100-80"], 0.5)
    per_iteration = sum(SHARE // MICRO_BATCH * costs.micro_batch(phase, MICRO_BATCH).flops
                        for phase in costs.game.phases)
    assert row.flops_per_image == pytest.approx(per_iteration / (2 * SHARE))          # D and G take a batch each
    assert row.hours == pytest.approx(64 / (2 * SHARE) * per_iteration / (19.5e12 * 0.5) / 3600)
    assert row.loader_images_per_second == pytest.approx(64 / (row.hours * 3600))


@pytest.mark.slow
def test_the_command_prints_json_without_data(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("SCALEGAN_DATA", raising=False)
    assert main(["celeba_dcgan", "model.width=4", "--gpus", "1,4,64", "--gpu", "v100-32", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [(r["gpus"], r["engine"]) for r in printed["rows"]] == [
        (n, e) for n in (1, 4, 64) for e in ("ddp", "zero1", "zero2", "zero3", "fsdp")]
    assert all(bool(r["problem"]) == (r["gpus"] == 64) for r in printed["rows"])


@pytest.mark.slow
def test_recipes_that_differ_in_averages_or_frozen_layers_are_planned_apart(tmp_path: Path, capsys: Any) -> None:
    common = "data: {path: x, resolution: 32}\nmodel: {name: dcgan, width: 16}\ngame: {name: gan}\n" \
             "optimizer: {default: {}}\ntotal_images: 1e9\n"
    recipes = {"plain": "", "averages": "emas: {long: {half_life_images: 9}}", "power": "power_ema: {every_images: 9}",
               "frozen": "freeze: [D.features]"}
    for name, more in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(common + more)
    words = [str(tmp_path / f"{name}.yaml") for name in recipes]

    def planned(*words: str) -> list[dict[str, Any]]:
        assert main([*words, "--gpus", "1", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["rows"]

    together = planned(*words)
    assert together == [row for word in words for row in planned(word)]
    state = [row["state_bytes"] for row in together if row["engine"] == "ddp"]
    assert state[3] < state[0] < state[1] < state[2]
    assert [row["engine"] for row in together if row["recipe"] == words[3]] == ["ddp", "fsdp"]


@pytest.mark.parametrize(("words", "small"), [
    (["recipe=quickstart"], True), (["r3gan_cifar10_small"], True), (["toy_lecture"], True),
    (["quickstart", "total_images=100_000_000"], False), (["dcgan_cifar10"], False), (["simgan_digits"], True),
], ids=["a recipe for two cores", "a recipe for one core", "a toy", "a long run", "a recipe for GPUs",
        "a recipe with a pool in two phases"])
def test_only_recipes_too_small_for_a_gpu_are_planned_on_a_core(words: list[str], small: bool, capsys: Any) -> None:
    assert main([*words, "--gpus", "1"]) == 0
    said = capsys.readouterr().out
    assert ("on one CPU core" in said, "GPUs" in said and "hours" in said) == (small, not small)
    if small:
        assert len(said.splitlines()) == 1 and " 0 minutes" not in said
        assert main([*words, "--gpus", "1", "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["one_core"]
        assert f"about {max(1, round(row['hours'] * 60))} minute" in said


@pytest.mark.slow
def test_mistakes_are_one_line() -> None:
    assert "--gpus" in cli("plan", "--help").stdout
    done = cli("plan", "no_such_recipe")
    assert done.returncode == 2 and "there is no recipe 'no_such_recipe'" in done.stderr
    assert "Traceback" not in done.stderr
