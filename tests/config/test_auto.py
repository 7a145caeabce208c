"""The rules of recipe=auto: what they choose for which images and devices, and that it always is a recipe that runs."""

import itertools
import re
from typing import Any

import pytest
import torch
from harness import ROOT

from scalegan.config import Recipe, loading
from scalegan.config.auto import FEWEST, Choice, Device, Images, choose
from scalegan.config.ranks import check_world
from scalegan.errors import RecipeError
from scalegan.training import build
from scalegan.training.costs import specs_of

CPU, SMALL_GPU, LARGE_GPU = Device("cpu"), Device("gpu", 16 << 30), Device("gpu", 80 << 30)
PHOTOS = Images(2_000, 640)
FAMILIES = ("dcgan", "stylegan2")


def recipe_of(images: Images, device: Device, **given: Any) -> Recipe:
    tree: dict[str, Any] = {"data": {"path": "photos"}}
    for choice in choose(images, device, given):
        tree = loading.merge(tree, choice.keys)
    return loading.overridden(tree, given, "auto", "runs/photos")


def value(recipe: Recipe, key: str) -> Any:
    for part in key.split("."):
        recipe = getattr(recipe, part)
    return recipe


@pytest.mark.parametrize(("images", "device", "given", "key", "expected"), [
    pytest.param(*row[1:], id=row[0]) for row in (
        ("large photos are reduced to 64 px on CPUs", PHOTOS, CPU, {}, "data.resolution", 64),
        ("and to 256 px on a GPU", PHOTOS, SMALL_GPU, {}, "data.resolution", 256),
        ("images of 100 px fill 64", Images(2_000, 100), SMALL_GPU, {}, "data.resolution", 64),
        ("digits of 28 px are enlarged to 32", Images(5_000, 28), CPU, {}, "data.resolution", 32),
        ("shards stay as they are", Images(2_000, 128, prepared=True), CPU, {}, "data.resolution", 128),
        ("a given resolution counts", PHOTOS, CPU, {"data": {"resolution": 32}}, "data.resolution", 32),
        ("classes of enough images are used", Images(2_000, 64, "class", 10, 150), CPU, {}, "data.labels", "class"),
        ("a folder per person is not", Images(2_000, 64, "class", 900, 1), CPU, {}, "data.labels", "none"),
        ("nor is the only class", Images(2_000, 64, "class", 1, 2_000), CPU, {}, "data.labels", "none"),
        ("attributes are used", Images(2_000, 64, "attributes", 40, 2_000), CPU, {}, "data.labels", "attributes"),
        ("DCGAN on CPUs", PHOTOS, CPU, {}, "model.name", "dcgan"),
        ("StyleGAN2 on GPUs", PHOTOS, LARGE_GPU, {}, "model.name", "stylegan2"),
        ("of half the published width", PHOTOS, CPU, {}, "model.width", 32),
        ("a given family counts", PHOTOS, CPU, {"model": {"name": "stylegan2"}}, "model.mapping_layers", 2),
        ("on a GPU it has the published width", PHOTOS, LARGE_GPU, {"model": {"name": "dcgan"}}, "model.width", 64),
        ("few images are augmented", PHOTOS, CPU, {}, "augment.name", "diffaugment"),
        ("many need not be", Images(200_000, 64), CPU, {}, "augment.name", "none"),
        ("StyleGAN2 adapts its augmentation", PHOTOS, SMALL_GPU, {}, "augment.name", "ada"),
        ("its gamma is stylegan2-ada's: 0.0002 * 256^2 / 16", PHOTOS, SMALL_GPU, {}, "game.penalties.r1.gamma",
         pytest.approx(0.8192)),
        ("and follows a given batch", PHOTOS, SMALL_GPU, {"batch_size": 64}, "game.penalties.r1.gamma",
         pytest.approx(0.2048)),
        ("few images are seen many times", PHOTOS, CPU, {}, "total_images", 200_000),
        ("small ones even more often, as they cost less", Images(2_000, 32), CPU, {}, "total_images", 500_000),
        ("GPUs train longer", PHOTOS, LARGE_GPU, {}, "total_images", 5_000_000),
    )])
def test_a_rule(images: Images, device: Device, given: dict[str, Any], key: str, expected: Any) -> None:
    assert value(recipe_of(images, device, **given), key) == expected


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("device", [CPU, SMALL_GPU, LARGE_GPU], ids=str)
def test_every_choice_is_a_recipe_that_one_to_eight_ranks_can_train(device: Device, family: str) -> None:
    labels = [{}, {"labels": "class", "names": 5, "fewest": 20}, {"labels": "attributes", "names": 3}]
    for count, side, more in itertools.product((FEWEST, 3_000, 1_000_000), (16, 64, 300), labels):
        recipe = recipe_of(Images(count, side, **more), device, model={"name": family})
        assert recipe.batch_size <= count
        for ranks in (rank for rank in (1, 2, 4, 8) if recipe.lanes % rank == 0):
            check_world(recipe, ranks)
        assert recipe.lanes % 4 == 0
        with torch.device("meta"):
            assert set(build.game(recipe, specs_of(recipe)).players) == {"G", "D"}


def test_a_larger_gpu_takes_more_at_once_of_the_same_batch() -> None:
    small, large = (recipe_of(PHOTOS, Device("gpu", gib << 30)) for gib in (4, 80))
    assert small.micro_batch_size < large.micro_batch_size <= large.batch_size == small.batch_size
    assert (small.model, small.game, small.lanes) == (large.model, large.game, large.lanes)


@pytest.mark.parametrize("batch", [1, 6, 20, 50, 63, 128])
def test_any_given_batch_is_divided(batch: int) -> None:
    recipe = recipe_of(PHOTOS, CPU, batch_size=batch, model={"name": "dcgan", "norm_group": "batch"})
    assert recipe.batch_size == batch and batch % recipe.micro_batch_size == batch % recipe.lanes == 0


@pytest.mark.parametrize("given", [{"data": {"resolution": "big"}}, {"data": 3}, {"batch_size": [1]}, {"model": "x"},
                                   {"total_images": -1}, {"model": {"name": ["dcgan"]}}], ids=str)
def test_what_the_schema_refuses_is_refused_in_one_line(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(given))):
        recipe_of(PHOTOS, CPU, **given)


@pytest.mark.parametrize(("device", "family", "resolution", "total", "said"), [
    pytest.param(CPU, "dcgan", 64, 90_000, "10 min on one core that does 150 images/s", id="DCGAN on a CPU"),
    pytest.param(CPU, "dcgan", 32, 90_000, "3 min on one core that does 500", id="smaller images take less"),
    pytest.param(CPU, "dcgan", 128, 90_000, None, id="no rate is known of DCGAN at 128 px"),
    pytest.param(CPU, "stylegan2", 64, 90_000, None, id="or of StyleGAN2 on a CPU"),
    pytest.param(LARGE_GPU, "stylegan2", 256, 90_000, None, id="or on a GPU"),
])
def test_the_length_says_how_long_it_takes_where_a_rate_is_known(
        device: Device, family: str, resolution: int, total: int, said: str | None) -> None:
    given = {"model": {"name": family}, "data": {"resolution": resolution}, "total_images": total}
    why, = (choice.why for choice in choose(PHOTOS, device, given) if choice.about == "length")
    assert said in why if said else "images/s" not in why


def test_too_few_images_are_refused_with_the_number_needed() -> None:
    with pytest.raises(RecipeError, match=f"has {FEWEST - 1} images.*at least {FEWEST}"):
        choose(Images(FEWEST - 1, 64), CPU, {})
    assert choose(Images(FEWEST, 64), CPU, {})


def test_each_choice_has_a_reason_and_no_key_is_chosen_twice() -> None:
    def leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
        return [leaf for key, found in tree.items()
                for leaf in (leaves(found, f"{prefix}{key}.") if isinstance(found, dict) else [prefix + key])]

    choices: list[Choice] = choose(PHOTOS, LARGE_GPU, {})
    keys = [leaf for choice in choices for leaf in leaves(choice.keys)]
    assert len(keys) == len(set(keys)) > 20
    assert all(choice.what and choice.why and len(choice.why) < 100 for choice in choices)


def test_the_documentation_has_a_row_for_each_choice() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    table = page.partition("## Your own images")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \|", table, re.M)
    assert [row for row in rows if row != "choice"] == [choice.about for choice in choose(PHOTOS, CPU, {})]
