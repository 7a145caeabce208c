"""`scalegan probe`: what it prints, which images it learns from and tests on, and what it refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from PIL import Image

from scalegan import cli
from scalegan.checkpoints import exports
from scalegan.commands import probe
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.probing import classifier
from scalegan.probing.features import name_of, network_of, untrained
from scalegan.probing.labelled import Labelled, few, halves, matching, open_labelled
from scalegan.training import build

pytestmark = pytest.mark.slow
COLOURS = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [200, 200, 60]])
PHOTO = Spec("image", (3, 16, 16))


def folder_of(folder: Path, labels: list | None, size: int = 16) -> Path:
    """Noisy squares, coloured by class or by which of two attributes they have, in StyleGAN's layout."""
    folder.mkdir()
    for number in range(40):
        label = labels[number] if labels else 0
        colour = COLOURS[label] if isinstance(label, int) else COLOURS[:2].T @ np.array(label)
        noise = np.random.default_rng(number).integers(-30, 30, (size, size, 3))
        Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    if labels:
        pairs = [[f"{number:03d}.png", label] for number, label in enumerate(labels)]
        (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return folder


CLASSES = [number % 4 for number in range(40)]
ATTRIBUTES = [[number % 2, number // 2 % 2] for number in range(40)]


@pytest.fixture(scope="module")
def sets(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return {"SET": tiny_set, "OTHERS": folder_of(folder / "classes", CLASSES),
            "ATTRIBUTES": folder_of(folder / "attributes", ATTRIBUTES),
            "TEST": folder_of(folder / "test", ATTRIBUTES[::-1]),
            "UNLABELLED": folder_of(folder / "unlabelled", None),
            "ALIKE": folder_of(folder / "alike", [1] * 40), "LARGER": folder_of(folder / "larger", CLASSES, 32)}


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_SHOWN", 64 * 30)


def printed(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[dict, str]:
    """The JSON object that the command prints, and its last line for people."""
    capsys.readouterr()
    assert probe.main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err.splitlines()[-1]


@pytest.mark.usefixtures("brief")
def test_classes_are_told_apart_by_their_colours_twice_alike(finished_run: Path, sets: dict[str, Path],
                                                             capsys: pytest.CaptureFixture) -> None:
    asked = (finished_run, "--data", sets["SET"], "--labels", "40", "--baseline", "cnn")
    result, line = printed(capsys, *asked)
    assert (result, line) == printed(capsys, *asked)
    assert result["accuracy"] > 0.95 and result["baselines"]["pixels"] > 0.95 and result["baselines"]["cnn"] > 0.9
    assert result["baselines"]["majority"] < 0.4
    assert set(result["baselines"]) == {"majority", "pixels", "untrained", "cnn"}
    assert result["network"] == "D" and result["features"] == 16 * (4 + 8)
    assert (result["train"]["labels"], result["test"]["images"]) == (40, 304 // 5)
    assert "1 in 5 of --data" in result["test"]["split"]
    assert line.startswith("accuracy of a linear SVM on D's 192 features") and "40 labels, 60 test images" in line


def test_attributes_get_the_hamming_loss_and_an_accuracy_each(finished_run: Path, sets: dict[str, Path], tmp_path: Path,
                                                              capsys: pytest.CaptureFixture) -> None:
    assert probe.main([str(finished_run), "--data", str(sets["ATTRIBUTES"]), "--test", str(sets["TEST"]),
                       "--out", str(tmp_path / "new" / "probe.json")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 'probe.json'}\n"
    result = json.loads((tmp_path / "new" / "probe.json").read_text())
    assert "accuracy" not in result and result["hamming_loss"] < 0.05
    assert result["hamming_loss"] == pytest.approx(1 - np.mean(list(result["per_attribute"].values())))
    assert list(result["per_attribute"]) == ["0", "1"]
    assert result["baselines"]["majority"] == pytest.approx(0.5)
    assert "cnn" not in result["baselines"] and result["test"]["split"] == "all of --test"


def test_an_untrained_network_is_the_runs_own_at_its_start(finished_run: Path) -> None:
    network = network_of(finished_run)
    recipe = loading.load([f"recipe={finished_run / 'config.yaml'}"])
    game = build.game(recipe, {"real": Spec.of(network.about["spec"])})
    ours, first = dict(untrained(network).named_parameters()), dict(game.D.named_parameters())
    assert all(torch.equal(ours[name].cpu(), first[name]) for name in first)
    assert not any(torch.equal(weight.cpu(), first[name]) for name, weight in network.named_parameters())


def test_a_run_with_an_encoder_and_its_export_are_probed_by_it(sets: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bigan.yaml").write_text(f"data: {{path: '{sets['SET']}', resolution: 16, workers: 0}}\n"
                                         "game: {name: bigan, hidden: 12, latent_dim: 4, norm_group: 4}\n"
                                         + harness.SHORT_RUN.format())
    harness.train(f"recipe={tmp_path / 'bigan.yaml'}", f"run_dir={tmp_path / 'run'}", "total_images=32")
    exports.save(exports.load_all(tmp_path / "run"), tmp_path / "bigan.safetensors")
    of_run, of_export = network_of(tmp_path / "run"), network_of(tmp_path / "bigan.safetensors")
    assert name_of(of_run) == name_of(of_export) == "E"
    weights = of_export.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in of_run.state_dict().items())
    assert all(torch.equal(one, other) for one, other in
               zip(untrained(of_run).parameters(), untrained(of_export).parameters()))


def test_a_player_is_loaded_with_its_current_weights(finished_run: Path) -> None:
    averaged, current = exports.load(finished_run, standing_batches=0), exports.load_player(finished_run, "G")
    names = dict(current.named_parameters())
    assert not any(torch.equal(names[name], weight) for name, weight in averaged.named_parameters())
    with pytest.raises(UserError, match=r"no player 'Q': those of game.name=gan are G, D"):
        exports.load_player(finished_run, "Q")


def test_a_discriminator_is_found_in_a_checkpoint_of_format_1() -> None:
    assert name_of(exports.load_player(harness.ROOT / "tests/checkpoints/format1/run", "D")) == "D"


def test_halves_have_no_image_in_common_and_are_always_the_same(sets: dict[str, Path]) -> None:
    train, test = halves(open_labelled(str(sets["SET"]), PHOTO))
    assert sorted([*train.numbers, *test.numbers]) == list(range(304)) and len(test) == 60
    assert np.array_equal(halves(open_labelled(str(sets["SET"]), PHOTO))[1].numbers, test.numbers)
    assert np.array_equal(train.labels[:50], train.numbers[:50] % 4)
    assert len(set(test.labels.tolist())) == 4


@pytest.mark.parametrize("count, each", [(8, [2] * 4), (40, [10] * 4), (42, [10, 10, 11, 11])], ids=str)
def test_few_labels_are_as_many_of_each_class(count: int, each: list[int], sets: dict[str, Path]) -> None:
    train, test = halves(open_labelled(str(sets["SET"]), PHOTO))
    chosen = few(train, count)
    assert sorted(chosen.labels.bincount().tolist()) == each
    assert set(chosen.numbers) <= set(train.numbers) and not set(chosen.numbers) & set(test.numbers)
    assert set(chosen.numbers) <= set(few(train, count + 4).numbers)


def of(names: str, table: list, path: str = "x") -> Labelled:
    class Nothing:
        name = path
    return Labelled(Nothing(), np.arange(len(table)), np.array(table), tuple(names.split()))


@pytest.mark.parametrize("test, expected", [
    (of("a b", [0, 1, 1]), [0, 1, 1]), (of("b a", [0, 1, 1]), [1, 0, 0]), (of("b", [0, 0]), [1, 1]),
], ids=["the same classes", "in another order", "fewer classes"])
def test_test_labels_are_matched_by_name(test: Labelled, expected: list[int]) -> None:
    assert matching(test, of("a b", [0, 1])).labels.tolist() == expected


def test_test_attributes_are_matched_by_name() -> None:
    test = matching(of("old young smiles", [[0, 1, 0], [0, 0, 1]]), of("smiles young", [[0, 1]]))
    assert test.labels.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("test, train, says", [
    (of("a c", [0, 1], "test"), of("a b", [0, 1], "data"), "data lacks the classes c of test"),
    (of("young", [[1]], "test"), of("smiles young", [[0, 1]], "data"), "test lacks the attributes smiles of data"),
    (of("a b", [0, 1], "test"), of("a b", [[0, 1]], "data"), "--data data has attributes, but --test test has classes"),
], ids=["another class", "an attribute is missing", "another kind"])
def test_labels_that_cannot_be_matched_are_refused(test: Labelled, train: Labelled, says: str) -> None:
    with pytest.raises(UserError) as error:
        matching(test, train)
    assert says in str(error.value)


def damaged(run: Path, sets: dict[str, Path], folder: Path) -> list:
    copy = harness.make_set(folder / "damaged", (40,))
    shard = copy / "000000.tar"
    content = bytearray(shard.read_bytes())
    content[600:20_000] = bytes(19_400)
    shard.write_bytes(content)
    return [run, "--data", copy]


def exported(run: Path, sets: dict[str, Path], folder: Path) -> list:
    exports.save(exports.load_all(run), folder / "G.safetensors")
    return [folder / "G.safetensors", "--data", sets["SET"]]


def on_points(run: Path, sets: dict[str, Path], folder: Path) -> list:
    harness.train("recipe=toy_lecture", f"run_dir={folder / 'toy'}", "total_images=2000")
    return [folder / "toy", "--data", sets["SET"]]


BAD: dict[str, tuple[list[str] | Callable[..., list], str]] = {
    "no labels": (["RUN", "--data", "UNLABELLED"], "has no labels; prepare it with --labels class"),
    "no labels to test on": (["RUN", "--data", "SET", "--test", "UNLABELLED"], "--test UNLABELLED has no labels"),
    "labels of one class": (["RUN", "--data", "ALIKE"], "have the same labels; give a set with two classes or more"),
    "the same images twice": (["RUN", "--data", "SET", "--test", "SET"], "has the same images as --data; leave it out"),
    "labels of another kind": (["RUN", "--data", "SET", "--test", "ATTRIBUTES"], "labels of the same kind"),
    "classes of other names": (["RUN", "--data", "SET", "--test", "OTHERS"], "lacks the classes 0, 1, 2, 3"),
    "another resolution": (["RUN", "--data", "LARGER"], "has images of 32 x 32 px, 3 channels, but the run of 16 x 16"),
    "other channels": (["RUN", "--data", "embedded:mnist"], "1 channel, but the run of 16 x 16 px, 3 channels"),
    "no such set": (["RUN", "--data", "nowhere"], "nowhere does not exist"),
    "no such embedded set": (["RUN", "--data", "embedded:minst"], "did you mean 'mnist'?"),
    "no such run": (["nowhere", "--data", "SET"], "nowhere does not exist"),
    "a folder that is not a run": (["SET", "--data", "SET"], "neither a run folder"),
    "too few labels": (["RUN", "--data", "SET", "--labels", "7"], "choose from 8 to 244"),
    "too many labels": (["RUN", "--data", "SET", "--labels", "245"], "choose from 8 to 244"),
    "not a number of labels": (["RUN", "--data", "SET", "--labels", "-3"], "not a positive whole number"),
    "no data": (["RUN"], "the following arguments are required: --data"),
    "another baseline": (["RUN", "--data", "SET", "--baseline", "mlp"], "invalid choice: 'mlp'"),
    "a file of another kind": (["RUN", "--data", "SET", "--out", "x.txt"], "use .json"),
    "a damaged shard": (damaged, "cannot be used"),
    "an export without D": (exported, "is an export, which does not hold D; give its run or a checkpoint"),
    "a run on points": (on_points, "was trained on data of kind 'points'; a probe needs a run on images"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_a_line(case: str, finished_run: Path, sets: dict[str, Path], tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    arguments, says = BAD[case]
    places = {"RUN": finished_run, **sets}
    if callable(arguments):
        arguments = arguments(finished_run, sets, tmp_path)
    monkeypatch.setattr(sys, "argv", ["scalegan", "probe", *(str(places.get(word, word)) for word in arguments)])
    capsys.readouterr()
    try:
        code = cli.main()
    except SystemExit as stopped:
        code = stopped.code
    said = [line for line in capsys.readouterr().err.splitlines() if "images/s" not in line]    # progress
    assert code in (1, 2) and len(said) == 1, said
    for name, place in places.items():
        says = says.replace(f"test {name} ", f"test {place} ")
    assert says in said[0] and "error: " in said[0]
