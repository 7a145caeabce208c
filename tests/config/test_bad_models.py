"""What a family cannot do is reported in one clear line before training starts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import make_set, state, train

from scalegan.checkpoints.store import load_into
from scalegan.config import loading
from scalegan.data.opening import open_sources
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError, UserError
from scalegan.models import families
from scalegan.training import build

MODELS = {
    "dcgan": ["model.width=4"],
    "biggan": ["model.width=4"],
    "biggan_deep": ["model.width=4", "model.latent_dim=8"],
    "stylegan2": ["model.channel_base=128", "model.channel_max=8", "model.mapping_layers=2"],
    "r3gan": ["model.width=16", "model.cardinality=4", "model.blocks=1"],
}
BASES = {name: f"_base/{name}" for name in MODELS}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "set", size=32)


def arguments(family: str, folder: Path, data: Path, *more: str) -> list[str]:
    path = folder / f"{family}.yaml"
    path.write_text(f"extends: [{BASES[family]}]\ndata: {{path: {data}, resolution: 32, block_records: 8}}\n"
                    "total_images: 64\nbatch_size: 16\nmicro_batch_size: 16\nlanes: 2\nlog: {tensorboard: false}\n")
    norm = ["model.norm_group=16"] if family in ("dcgan", "biggan", "biggan_deep") else []
    return [f"recipe={path}", f"run_dir={folder / 'run'}", *MODELS[family], *norm, *more]


def one_line(error: Exception) -> str:
    assert "\n" not in str(error) and len(str(error)) < 400
    return str(error)


@pytest.mark.parametrize("family, resolution, has", [
    ("dcgan", 48, "16, 32, 64"), ("biggan", 48, "32, 64, 128, 256"), ("biggan", 512, "32, 64, 128, 256"),
    ("biggan_deep", 512, "32, 64, 128, 256"),
    ("stylegan2", 48, "32, 64"), ("stylegan2", 2048, "1024"), ("r3gan", 48, "32, 64")])
def test_a_resolution_that_the_family_does_not_support(family, resolution, has, tmp_path: Path, images: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load(arguments(family, tmp_path, images, f"data.resolution={resolution}"))
    assert f"data.resolution={resolution}: {family} supports" in one_line(caught.value) and has in str(caught.value)


@pytest.mark.parametrize("family, more, says", [
    ("biggan", ["model.attention=[7]"], "no block ends at the attention resolution 7"),
    ("biggan_deep", ["model.attention=[32]"], "no block ends at the attention resolution 32"),
    ("biggan", ["model.hierarchical=true", "data.labels=class"], "set shared_dim"),
    ("r3gan", ["model.cardinality=5"], "cannot be divided into 5 groups"),
    ("r3gan", ["model.widths=[16,16]"], "need 4 stages"),
    ("r3gan", ["model.kernel=4"], "to an odd number"),
    ("r3gan", ["model.width=16", "model.full_width_until=1"], "leaves no channels at 32 px"),
    ("stylegan2", ["model.channel_base=16"], "set model.channel_base=32 or more"),
])
def test_a_combination_that_the_family_does_not_support(family, more, says, tmp_path: Path, images: Path) -> None:
    recipe = loading.load(arguments(family, tmp_path, images, *more))
    specs = {name: source.spec for name, source in open_sources(recipe).items()}
    with pytest.raises(RecipeError, match=says) as caught:
        build.game(recipe, specs)
    assert one_line(caught.value).startswith(f"model.name={family}: ")


@pytest.mark.parametrize("family", MODELS)
def test_attributes_where_the_data_has_classes(family: str, tmp_path: Path, images: Path) -> None:
    recipe = loading.load(arguments(family, tmp_path, images, "data.labels=attributes"))
    with pytest.raises(RecipeError, match=r"data\.labels=attributes, but .* has labels of kind 'class'") as caught:
        open_sources(recipe)
    one_line(caught.value)


def relabelled(folder: Path, labels) -> Path:
    """A shard set whose index has labels that differ from its manifest's."""
    data = make_set(folder / "data", size=32)
    from safetensors.numpy import load_file, save_file

    index = load_file(data / "index.safetensors")
    index["labels"] = labels(index["labels"])
    save_file(index, data / "index.safetensors")
    return data


@pytest.mark.parametrize("labels, says", [
    (lambda y: np.where(np.arange(len(y)) == 5, 4, y), "there is a label 4, but the manifest has 0 to 3"),
    (lambda y: np.where(np.arange(len(y)) == 5, -1, y), "there is a label -1"),
    (lambda y: y[:0], r"the labels have shape \[0\], not \[304\]"),
    (lambda y: np.eye(4, dtype=np.uint8)[y], r"the labels have shape \[304, 4\]"),
    (lambda y: np.roll(y, 1), "does not match index.safetensors: its content hash is for .* other labels"),
], ids=["too large", "negative", "missing", "attributes", "others'"])
def test_labels_that_do_not_fit_the_manifest(labels, says: str, tmp_path: Path) -> None:
    data = relabelled(tmp_path, labels)
    recipe = loading.load(arguments("biggan", tmp_path, data, "data.labels=class"))
    with pytest.raises(UserError, match=says) as caught:
        open_sources(recipe)
    one_line(caught.value)


@pytest.mark.slow
def test_the_trainer_ends_with_code_2_and_one_line(tmp_path: Path, images: Path) -> None:
    done = train(*arguments("stylegan2", tmp_path, images, "data.labels=attributes"), code=2)
    assert done.stderr.count("\n") == 1 and "labels of kind 'class'" in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("labels", [None, torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.zeros(2, 5),
                                    torch.tensor([0.5, 0.5])], ids=["none", "3 of 3", "-1", "5 attributes", "floats"])
def test_labels_that_the_networks_cannot_take(family: str, labels, tmp_path: Path, images: Path) -> None:
    recipe = loading.load(arguments(family, tmp_path, images))
    generator, discriminator = families.build(recipe.model, Spec("image", (3, 32, 32), 3))
    for network, shape in ((generator, (2, generator.latent_dim)), (discriminator, (2, 3, 32, 32))):
        with pytest.raises(ValueError, match=r"label|class indices") as caught:
            network(torch.randn(shape), labels)
        one_line(caught.value)


@pytest.mark.parametrize("family, more", [("dcgan", "model.width=8"), ("biggan", "model.width=8"),
                                          ("biggan_deep", "model.depth=3"),
                                          ("stylegan2", "model.channel_max=16"), ("r3gan", "model.blocks=2")])
def test_a_checkpoint_of_another_shape(family: str, more: str, tmp_path: Path, images: Path) -> None:
    from scalegan.checkpoints.store import Checkpoints
    from scalegan.engines.ranks import Ranks

    one, other = (build.game(recipe, {"real": Spec("image", (3, 32, 32))}) for recipe in (
        loading.load(arguments(family, tmp_path, images)), loading.load(arguments(family, tmp_path, images, more))))
    checkpoints = Checkpoints(tmp_path / "checkpoints", Ranks(0, 1, torch.device("cpu")), 2)
    checkpoints.save(0, one.state_dict(), state(0), wait=True)
    with pytest.raises(UserError, match=r"but the recipe makes it|it belongs to another recipe") as caught:
        load_into(checkpoints.newest(), other.state_dict())
    one_line(caught.value)
