"""Every trick and penalty with every family on every engine, in small: it makes its updates, or a line refuses it."""

import importlib.util
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from harness import spawn
from small_games import batch_for

from scalegan import config
from scalegan.config import loading
from scalegan.config.penalties import Penalties
from scalegan.config.tricks import Tricks
from scalegan.data.spec import Spec
from scalegan.engines import choice, optimizers
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.randomness import Draws
from scalegan.training import build

FAMILIES = {
    "dcgan": {"width": 4, "latent_dim": 8, "norm_group": 4},
    "mlp": {"hidden": 8, "layers": 2, "latent_dim": 4},
    "mlp of points": {"hidden": 8, "layers": 2, "latent_dim": 4},
    "biggan": {"width": 4, "latent_dim": 8, "norm_group": 4},
    "biggan_deep": {"width": 4, "latent_dim": 8, "norm_group": 4},
    "stylegan2": {"channel_base": 64, "channel_max": 8, "latent_dim": 8, "w_dim": 8, "mapping_layers": 2,
                  "mbstd_group": 4},
    "r3gan": {"width": 8, "cardinality": 2, "blocks": 1, "latent_dim": 8},
    "gat": {"patch": 8, "depth": 2, "width": 16, "heads": 2, "outputs": 2, "latent_dim": 8},
}
# The keys of a trick or penalty, and the term that it adds, if any.
TRICKS: dict[str, tuple[dict[str, Any], str]] = {
    "feature_matching": ({"weight": 1.0, "group": 4}, "G/feature_matching"),
    "minibatch_discrimination": ({"kernels": 3, "kernel_dim": 2, "group": 4}, ""),
    "historical_averaging": ({"weight": 0.1}, "D/history"),
    "label_smoothing": (0.9, ""), "san": (True, "D/direction"),
    "instance_noise": ({"start": 0.5, "end": 0.0, "images": 100}, ""),
    "adaptive_updates": ({"ratio": 0.5, "updates": 2}, ""),
    "latent_mixture": ({"components": 3}, "G/deviations"), "alignment": ({"size": 32, "hidden": 4}, "D/alignment"),
}
PENALTIES: dict[str, tuple[dict[str, Any], str]] = {
    "r1": ({"gamma": 1.0}, "D/r1"), "r1, lazy": ({"gamma": 1.0, "every": 2}, "D.r1/r1"), "r2": ({"gamma": 1.0}, "D/r2"),
    "r1, by differences": ({"gamma": 1.0, "method": "finite_difference"}, "D/r1"),
    "r1, lazy, by differences": ({"gamma": 1.0, "every": 2, "method": "finite_difference", "share": 0.5}, "D.r1/r1"),
    "r2, by differences": ({"gamma": 1.0, "method": "finite_difference", "antithetic": True}, "D/r2"),
    "path_length": ({"every": 2}, "G.path/path"), "orthogonal": ({"weight": 1e-2}, "D/orthogonal"),
    "gradient": ({"weight": 1.0}, "D/gradient_penalty"), "pull_away": ({"group": 4}, "G/pull_away"),
    "bcr": ({}, "D/bcr_real"), "lecam": ({"start": 0}, "D/lecam"),
}
GAMES: dict[str, tuple[dict[str, Any], str]] = {
    **{name: ({"tricks": {name: keys}}, term) for name, (keys, term) in TRICKS.items()},
    **{name: ({"penalties": {name.split(",")[0]: keys}}, term) for name, (keys, term) in PENALTIES.items()},
    "clip": ({"loss": "wasserstein_clip"}, ""), "unrolled": ({"name": "unrolled", "steps": 1, "step_size": 1e-3}, ""),
    "ebgan": ({"loss": "ebgan"}, ""),
    "san, relativistic, with penalties": ({"loss": "relativistic", "tricks": {"san": True}, "penalties": {
        "r1": {"gamma": 1.0, "every": 2, "method": "finite_difference"}, "r2": {"gamma": 1.0}, "gradient": {},
        "lecam": {"start": 0}, "orthogonal": {}}}, "D/direction"),
    "relativistic, by differences": ({"loss": "relativistic", "penalties": {
        side: {"gamma": 1.0, "method": "finite_difference", "share": 0.5} for side in ("r1", "r2")}}, "D/r2"),
}
ENGINES = {"DDP": config.Engine()}
if importlib.util.find_spec("deepspeed"):
    ENGINES |= {f"ZeRO-{stage}": config.Engine(name="deepspeed", zero_stage=stage) for stage in (1, 2)}
CELLS = [(family, game) for family in FAMILIES for game in GAMES]
# Why a family does not take a game; everything else must train.
REFUSED = {
    **{(family, game): "needs D's last features" for family in ("biggan", "biggan_deep", "stylegan2", "r3gan", "gat")
       for game in ("feature_matching", "minibatch_discrimination", "pull_away")},
    **{(family, "ebgan"): "has no auto-encoder" for family in ("biggan", "biggan_deep", "stylegan2", "r3gan", "gat")},
    **{(family, "path_length"): "needs a style-based generator" for family in FAMILIES if family != "stylegan2"},
    **{(family, "alignment"): "needs the tokens of model.name=gat" for family in FAMILIES if family != "gat"},
    ("mlp of points", "bcr"): "2-D points",
    ("stylegan2", "latent_mixture"): "use another family",
}
BATCH, SAMPLES = 8, 4


def recipe_of(family: str, game: str) -> config.Recipe:
    points, keys, side = family.endswith("points"), GAMES[game][0], 32 if family.startswith("biggan") else 16
    data = {"path": "ring8", "backend": "points"} if points else {"path": "-", "resolution": side}
    return loading.parse({"run_dir": "-", "total_images": 1, "batch_size": BATCH, "micro_batch_size": SAMPLES,
                          "lanes": 1, "data": data, "model": {"name": family.split()[0], **FAMILIES[family]},
                          "game": {"name": "gan", **keys}}, "test")


def trained(ranks: Ranks, engine: config.Engine, family: str, game: str) -> dict[str, float]:
    """The figures of the first iterations: of tricks two, as some begin with the second. NaN for a player that stood
    still."""
    recipe = recipe_of(family, game)
    size = recipe.data.resolution
    spec = Spec("points", (2,)) if recipe.data.backend == "points" else Spec("image", (3, size, size))
    played = build.on_device(build.game(recipe, {"real": spec}), ranks.device)
    machine = choice.make(engine, played, optimizers.make(recipe.optimizer, played), ranks, SAMPLES, "fp32")
    before = {name: value.clone() for name, value in played.named_parameters()}
    figures: dict[str, float] = {}
    for iteration in range(1 + (game in TRICKS)):
        for phase in played.phases:
            draws = Draws(0, 0, phase.name, torch.arange(BATCH) + BATCH * iteration)
            found = machine.update(phase, batch_for({"real": spec}, draws))
            played.after(phase, found)
            figures |= {f"{phase.name}/{name}": value.item() for name, value in found.items()}
    moved = {name.split(".")[0] for name, value in played.named_parameters() if not value.equal(before[name])}
    return figures | ({} if moved >= {"G", "D"} else {"moved": math.nan})


Found = dict[tuple[str, str, str], dict[str, float] | str]


def rows(ranks: Ranks, engines: list[str]) -> Found:
    """Figures, or what was raised, of every cell on these engines."""
    found: Found = {}
    for engine in engines:
        for cell in CELLS:
            try:
                found[engine, *cell] = trained(ranks, ENGINES[engine], *cell)
            except RecipeError as error:
                found[engine, *cell] = str(error)
            except Exception as error:
                found[engine, *cell] = f"{type(error).__name__}: {error}"
    return found


@pytest.fixture(scope="module")
def table() -> Found:
    """One process for DDP, one for DeepSpeed."""
    shares = [["DDP"], [name for name in ENGINES if name != "DDP"]]
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda engines: spawn(1, rows, engines)[0], filter(None, shares)))
    return {key: value for part in parts for key, value in part.items()}


def test_no_trick_and_no_penalty_is_left_out() -> None:
    assert set(TRICKS) == set(Tricks.__dataclass_fields__)
    assert {name.split(",")[0] for name in PENALTIES} == set(Penalties.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family, game", CELLS, ids=[f"{game}, {family}" for family, game in CELLS])
def test_it_trains_or_is_refused(family: str, game: str, engine: str, table: Found) -> None:
    found = table[engine, family, game]
    if (family, game) in REFUSED:
        assert isinstance(found, str) and REFUSED[family, game] in found
        return
    assert isinstance(found, dict), found
    assert all(map(math.isfinite, found.values())), found
    term = GAMES[game][1]
    assert not term or term in found, found.keys()
    assert found == pytest.approx(table["DDP", family, game], rel=1e-3, abs=1e-4)


def of_dcgan(ranks: Ranks, engine: config.Engine) -> dict[str, dict[str, float]]:
    found = {}
    for game in GAMES:
        if ("dcgan", game) not in REFUSED and game != "historical_averaging":
            found[game] = trained(ranks, engine, "dcgan", game)
            found[game].pop("moved", None)      # parts of weights cannot be compared so
    return found


@pytest.mark.slow
def test_fsdp_gives_the_figures_of_ddp() -> None:
    expected = of_dcgan(Ranks(0, 1, torch.device("cpu")), config.Engine())
    assert len(expected) > 20
    for game, figures in spawn(1, of_dcgan, config.Engine(name="fsdp"))[0].items():
        assert figures == pytest.approx(expected[game], rel=1e-3, abs=1e-4), game
