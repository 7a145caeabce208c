"""Standing statistics: BatchNorm's new averages, the draws behind them, and that everything uses the same ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
import sources_made as made
import torch

from scalegan.averages.label_summary import drawn, summary, with_attributes
from scalegan.averages.standing_statistics import standing_statistics
from scalegan.checkpoints import exports
from scalegan.commands import prepare, sample
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.models import biggan, dcgan, r3gan
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.randomness import Draws
from scalegan.training import launch

PLAIN = Spec("image", (3, 16, 16))


@pytest.mark.parametrize("group, batches, latents, groups", [(8, 3, 192, 24), (25, 2, 150, 6), ("batch", 2, 128, 2)])
def test_the_averages_are_those_of_fresh_draws(group: int | str, batches: int, latents: int, groups: int) -> None:
    generator = dcgan.Generator(16, width=4, latent_dim=8, norm_group=group)
    generator.stem[1].running_mean.fill_(9)
    standing_statistics(generator, PLAIN, batches=batches, seed=5)
    z = Draws(5, 0, "standing", torch.arange(latents)).normal("z", 8)
    with torch.no_grad():
        parts = generator.stem[0](z[:, :, None, None]).chunk(groups)
    mean = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    var = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
    torch.testing.assert_close(generator.stem[1].running_mean, mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(generator.stem[1].running_var, var, rtol=1e-4, atol=1e-6)
    assert not any(module.training for module in generator.modules())


def test_nothing_but_the_norms_changes() -> None:
    generator, spec = biggan.Generator(32, width=4, latent_dim=8, num_classes=3, norm_group=4), Spec(
        "image", (3, 32, 32), classes=3)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    standing_statistics(generator, spec, batches=2)
    changed = {name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "running_" in name}
    assert all(not m._observed for m in generator.modules() if isinstance(m, GroupedBatchNorm))


def classes() -> tuple[Spec, torch.Tensor]:
    return Spec("image", (3, 8, 8), classes=4), torch.tensor([2] * 900 + [0] * 90 + [3] * 10)


def attributes() -> tuple[Spec, torch.Tensor]:
    first = torch.arange(5000) % 10 == 0        # a tenth; the second attribute always follows it, the third never is
    return Spec("image", (3, 8, 8), attributes=3), torch.stack([first, first, first & False], 1).float()


@pytest.mark.parametrize("case", [classes, attributes])
def test_labels_are_distributed_like_the_datas(case: Callable) -> None:
    spec, table = case()
    found = drawn(summary(table, spec), spec, Draws(0, 0, "standing", torch.arange(4000)))
    assert found.dtype == spec.empty_condition(1).dtype
    if spec.classes:
        assert (torch.bincount(found, minlength=4) / 4000).tolist() == pytest.approx([0.09, 0, 0.9, 0.01], abs=0.015)
    else:
        assert found.mean(0).tolist() == pytest.approx([0.1, 0.1, 0], abs=0.02)
        assert torch.equal(found[:, 0], found[:, 1])


def test_samples_have_attributes_of_the_data_and_those_asked_for() -> None:
    spec, table = attributes()
    found = with_attributes(summary(table, spec), spec, range(500), [2])
    assert found[:, 2].all() and found[:, 0].mean() == pytest.approx(0.1, abs=0.04)
    assert torch.equal(found[7:9], with_attributes(summary(table, spec), spec, [7, 8], [2]))
    assert with_attributes(None, spec, [3], [1]).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("generator, spec, says", [
    (r3gan.Generator(8, width=4, cardinality=2, latent_dim=4), Spec("image", (3, 8, 8)), "no BatchNorm"),
    (dcgan.Generator(16, width=4, num_classes=3, multilabel=True), Spec("image", (3, 16, 16), attributes=3),
     "a summary of the data's labels"),
], ids=["no norm", "attributes without their distribution"])
def test_what_has_no_standing_statistics_is_said(generator: torch.nn.Module, spec: Spec, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        standing_statistics(generator, spec)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Path) -> Path:
    """A finished run that is conditioned on attributes."""
    folder = tmp_path_factory.mktemp("faces")
    made.write_files(folder / "celeba", made.celeba_files(100))
    assert prepare.main([str(folder / "celeba"), str(folder / "set"), "--kind", "celeba", "--resolution", "16"]) == 0
    harness.launch(1, f"recipe={tiny_recipe}", f"data.path={folder / 'set'}", "data.labels=attributes",
                   "batch_size=16", "micro_batch_size=16", "lanes=1", "total_images=640", f"run_dir={folder / 'run'}",
                   "data.block_records=4", "data.window_blocks=2")
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attributes", "classes"])
def test_pictures_loads_and_exports_are_of_the_same_network(kind: str, request: pytest.FixtureRequest, tmp_path: Path,
                                                            ) -> None:
    run = tmp_path / "run"
    shutil.copytree(request.getfixturevalue("faces" if kind == "attributes" else "finished_run"), run)
    loaded = exports.load(run)
    assert loaded.about["standing_statistics"] == 16
    exports.save(exports.load_all(run), tmp_path / "g.safetensors")
    recipe = loading.parse({**loading.plain(loaded.about["recipe"]), "run_dir": str(run)}, "test")
    with launch.assemble(recipe, Ranks(0, 1, torch.device("cpu")), recipe.micro_batch_size).networks() as networks:
        painted = {name: tensor.clone() for name, tensor in networks["G"].state_dict().items()}
    own = loaded.state_dict()
    exported = exports.load(tmp_path / "g.safetensors").state_dict()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in own.items())
    torch.testing.assert_close(painted, dict(own), rtol=1e-4, atol=1e-6)    # channels_last rounds differently
    as_stored = exports.load(run, standing_batches=0).state_dict()
    differing = {name for name, tensor in own.items() if not torch.equal(tensor, as_stored[name])}
    assert differing == {name for name in own if "running_" in name}


@pytest.mark.slow
def test_sample_draws_with_them(faces: Path, tmp_path: Path) -> None:
    exports.save(exports.load_all(faces), tmp_path / "g.safetensors")
    drawn = {}
    for name, source, more in (("run", faces, []), ("export", tmp_path / "g.safetensors", []),
                               ("as stored", faces, ["--standing-statistics", "0"])):
        assert sample.main([str(source), "--seeds", "0-3", "--out", str(tmp_path / name), *more]) == 0
        drawn[name] = (tmp_path / name / "grid.png").read_bytes()
    assert drawn["run"] == drawn["export"] != drawn["as stored"]


@pytest.mark.parametrize("spec, labels", [
    (Spec("image", (3, 16, 16), classes=3), [1, 2]), (Spec("image", (3, 16, 16), classes=3), [0, 0, 0]),
    (Spec("image", (3, 16, 16), classes=3), ["1", "2", "3"]), (Spec("image", (3, 16, 16), attributes=3), ["f0"]),
    (Spec("image", (3, 16, 16), attributes=3), ["xy"]), (Spec("image", (3, 16, 16), attributes=3), []),
], ids=["a class too few", "no records", "rows for classes", "too many bits", "no numbers", "no rows"])
def test_a_damaged_summary_is_named(spec: Spec, labels: list, tmp_path: Path) -> None:
    network = exports.of_model(dcgan.Generator(16, width=4, num_classes=3, multilabel=spec.multilabel),
                               {"name": "dcgan", "width": 4}, spec, 0)
    network.about["labels"] = labels
    exports.save(network, tmp_path / "g.safetensors")
    with pytest.raises(UserError, match="labels"):
        exports.load(tmp_path / "g.safetensors")
