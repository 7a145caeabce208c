"""Every recipe that ships: builds at full size, fits what it is meant for, and trains in small."""

import pytest
import torch

from scalegan import build, optimizers
from scalegan import recipe as recipes
from scalegan.config import Recipe
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.networks import Task
from scalegan.plan import meant_for
from scalegan.randomness import Draws

SAMPLES = 4
NARROW = {
    "dcgan": ["model.width=4", "model.latent_dim=8", "model.norm_group=4"],
    "biggan": ["model.width=8", "model.norm_group=4"],
    "stylegan2": ["model.channel_base=256", "model.channel_max=16", "model.latent_dim=16", "model.w_dim=16",
                  "model.mapping_layers=2", "model.mbstd_group=4"],
    "r3gan": ["model.width=32", "model.cardinality=8", "model.blocks=1"],
    "mlp": [],
}
FULL_CORPORA = [name for name in recipes.available() if name.startswith(("lsun", "celeba")) or name.endswith("cifar10")]


def task_of(recipe: Recipe) -> Task:
    data = recipe.data
    if data.backend == "points":
        return Task((2,))
    classes = {"none": 0, "class": 10, "attributes": 40}[data.labels]
    return Task((3, data.resolution, data.resolution), classes, data.labels == "attributes")


@pytest.mark.parametrize("name", recipes.available())
def test_it_builds_at_full_size_for_as_many_ranks_as_it_says(name: str) -> None:
    recipe = recipes.load([f"recipe={name}"])
    with torch.device("meta"):
        game = build.game(recipe, task_of(recipe))
    assert all(parameter.is_meta for parameter in game.parameters())
    for ranks in (1, meant_for(name) or 1):
        recipes.check_world(recipe, ranks)


@pytest.mark.parametrize("name", FULL_CORPORA)
def test_its_header_names_source_or_data_and_what_it_is_meant_for(name: str) -> None:
    header = [line for line in recipes.find(name).read_text().splitlines() if line.startswith("#")]
    assert meant_for(name) and any("hour" in line for line in header)
    assert any("ublished" in line for line in header) and any(line.startswith("# Data: ") for line in header)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.available())
def test_it_makes_an_update_in_small(name: str) -> None:
    family = recipes.load([f"recipe={name}"]).model.name
    recipe = recipes.load([f"recipe={name}", f"batch_size={SAMPLES}", f"micro_batch_size={SAMPLES}", "lanes=1",
                           *NARROW[family]])
    task = task_of(recipe)
    game = build.game(recipe, task)
    engine = DDPEngine(game, optimizers.make(recipe.optimizer, game), Ranks(0, 1, torch.device("cpu")), SAMPLES)
    for phase in game.phases:
        before = [p.clone() for player in phase.players for p in game.players[player].parameters()]
        draws = Draws(0, 0, phase.name, torch.arange(SAMPLES))
        labels = None
        if task.num_classes:
            labels = draws.integers("label", 2, 40) if task.multilabel else draws.integers("label", task.num_classes)
        reals = draws.normal("real", *task.shape).clamp(-1, 1)
        terms = engine.update(phase, Batch(reals, labels, labels, draws))
        after = [p for player in phase.players for p in game.players[player].parameters()]
        assert all(value.isfinite() for value in terms.values())
        assert any(not torch.equal(a, b) for a, b in zip(before, after))
