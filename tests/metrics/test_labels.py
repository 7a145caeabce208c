"""Labels have one meaning: classes are read as `prepare` reads them, and matched by name wherever two sets meet."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sources_made as made
import torch
from metrics_made import write_stub
from torch import nn

from scalegan.checkpoints import exports
from scalegan.data.preparing.sources import guess_kind, open_source
from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.metrics import evaluation, extractors, labels
from scalegan.metrics.evaluation import Settings
from scalegan.metrics.extractors.base import Extractor
from scalegan.metrics.generators import samples_of
from scalegan.metrics.images import Images, open_images
from scalegan.randomness import Draws

CPU = torch.device("cpu")
SIDE = 16


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    return extractors.load(str(write_stub(tmp_path_factory.mktemp("stub") / "stub.pt")), None, None, CPU)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEGAN_CACHE", str(tmp_path / "cache"))


def of_class(name: str, number: int) -> bytes:
    """A picture whose tint tells its class."""
    tint = sum(map(ord, name)) * 37 % 200
    return made.encoded((made.pixels(number, SIDE, SIDE) // 5 + tint).astype(np.uint8), "PNG")


def in_folders(names: list[str], count: int = 3, around: str = "") -> dict[str, bytes]:
    return {f"{around}{name}/{i}.png": of_class(name, i) for name in names for i in range(count)}


def in_dataset_json(numbers: list[int], count: int = 3, around: str = "") -> dict[str, bytes]:
    """StyleGAN's layout, whose folders mean nothing: labels are in dataset.json, in another order than the files."""
    placed = {f"{i % 2:05d}/img{i:08d}.png": numbers[i % len(numbers)] for i in range(count * len(numbers))}
    pairs = json.dumps({"labels": list(map(list, placed.items()))[::-1]}).encode()
    files = {name: of_class(str(number), i) for i, (name, number) in enumerate(placed.items())}
    return {f"{around}{name}": content for name, content in {**files, "dataset.json": pairs}.items()}


TWELVE = [str(i) for i in range(12)]
LAYOUTS: dict[str, Callable[[], dict[str, bytes]]] = {
    "twelve numbered classes": lambda: in_folders(TWELVE),
    "twelve in a folder around all": lambda: in_folders(TWELVE, around="photos/"),
    "names": lambda: in_folders(["cat", "dog", "Bird"]),
    "names with sub-folders": lambda: in_folders(["cat/indoors", "cat/outdoors", "dog/a"]),
    "StyleGAN's labels": lambda: in_dataset_json([0, 5, 11]),
    "StyleGAN's in a folder around all": lambda: in_dataset_json([2, 0, 1], around="set/"),
    "CIFAR-10's folders": lambda: in_folders([f"train/{name}" for name in (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")]),
    "no classes": lambda: in_folders(["."]),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_evaluate_reads_the_labels_that_prepare_stores(layout: str, zipped: bool, tmp_path: Path,
                                                       extractor: Extractor) -> None:
    files = LAYOUTS[layout]()
    path = made.write_zip(tmp_path / "set.zip", files) if zipped else made.write_files(tmp_path / "set", files)
    images, source = open_images(str(path)), open_source(guess_kind(path), [path])
    assert images.classes == source.labels.names
    found = {images.file(i): None if images.labels is None else int(images.labels[i]) for i in range(len(images))}
    assert found == {entry.key: entry.label for entry in source.entries()}
    assert [images.file(i) for i in range(len(images))] == sorted(found)       # torch-fidelity's order of samples
    if images.labels is not None:
        assert class_distances(images, images, extractor)[0] == dict.fromkeys(
            (name for i, name in enumerate(images.classes) if i in images.labels), pytest.approx(0, abs=1e-6))


def class_distances(fakes: Images, reals: Images, extractor: Extractor) -> tuple[dict[str, float], list[str]]:
    result = evaluation.evaluate(fakes, reals, extractor, Settings(("class_fid",)), Ranks(0, 1, CPU), show=False)
    return result["by_class"], [line for line in result["warnings"] if line.startswith("class_fid")]


@pytest.mark.parametrize(("ours", "theirs", "left_out"), [
    (TWELVE, TWELVE[::-1], ""), (TWELVE[1:], TWELVE, "0"), (["cat", "frog"], ["ape", "cat", "dog", "frog"], "ape, dog"),
    (["cat", "dgo"], ["cat", "dog"], "dog, dgo"), (["b", "c"], ["a", "b"], "a, c"),
], ids=["the same in another order", "samples that lack the first", "samples that lack two", "a slip", "one in common"])
def test_classes_are_matched_by_name(ours: list[str], theirs: list[str], left_out: str, tmp_path: Path,
                                     extractor: Extractor) -> None:
    """The images of a class are the same in both sets, so any other match gives a distance."""
    fakes, reals = (open_images(str(made.write_files(tmp_path / name, in_folders(classes))))
                    for name, classes in (("fakes", ours), ("reals", theirs)))
    values, said = class_distances(fakes, reals, extractor)
    assert values == dict.fromkeys(set(ours) & set(theirs), pytest.approx(0, abs=1e-6))
    assert said == ([f"class_fid leaves out {left_out}: fewer than two images among the samples or the data"]
                    if left_out else [])


def test_shards_and_the_folder_that_they_are_of_match(tmp_path: Path, extractor: Extractor) -> None:
    from scalegan.commands.prepare import main

    folder = made.write_files(tmp_path / "set", in_folders(TWELVE))
    main([str(folder), str(tmp_path / "shards"), "--resolution", str(SIDE), "--encoding", "png", "--workers", "1"])
    lacking = open_images(str(made.write_files(tmp_path / "some", in_folders(TWELVE[2:]))))
    found, _ = class_distances(lacking, open_images(str(tmp_path / "shards")), extractor)
    assert found == dict.fromkeys(TWELVE[2:], pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize(("ours", "theirs", "words"), [
    (in_folders(["cat", "dog"]), in_folders(["0", "1"]), "has the classes cat, dog, and .* has 0, 1: no name is in"),
    (in_folders(["cat"]), in_folders(["cat", "dog"]), "class_fid needs classes, but .*ours has none"),
    (in_folders(["cat", "dog", "."]), in_folders(["cat", "dog"]), "has none .*both in sub-folders .*classes"),
    (in_folders(["train", "test"]), in_folders(["cat", "dog"]), r"has none .*splits of a dataset"),
    ({**in_folders(["cat"]), "dataset.json": b"["}, in_folders(["cat", "dog"]), "has none .*dataset.json is not of"),
    ({**in_folders(["cat"]), "dataset.json": b"[" * 100_000}, in_folders(["cat", "dog"]), "dataset.json is not of"),
], ids=["no name in common", "one folder around all", "images outside", "splits", "damaged labels", "nested labels"])
def test_classes_that_do_not_fit_are_named_and_other_metrics_go_on(ours: dict, theirs: dict, words: str, tmp_path: Path,
                                                                   extractor: Extractor) -> None:
    fakes, reals = (open_images(str(made.write_files(tmp_path / name, files)))
                    for name, files in (("ours", ours), ("theirs", theirs)))
    with pytest.raises(UserError, match=words) as found:
        class_distances(fakes, reals, extractor)
    assert "\n" not in str(found.value)
    done = evaluation.evaluate(fakes, reals, extractor, Settings(("fid",)), Ranks(0, 1, CPU), show=False)
    assert "fd" in done["metrics"]


def test_an_lmdb_is_to_be_prepared(tmp_path: Path) -> None:
    path = made.write_lmdb(tmp_path / "bridge_lmdb", made.lsun_records(2))
    with pytest.raises(UserError, match=r"is an LMDB; convert it with `scalegan prepare .* DEST --kind lsun`"):
        open_images(str(path))


class Painter(nn.Module):
    """Draws a class as its number."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.scale, self.latent, self.latent_dim = nn.Parameter(torch.ones(())), "normal", 2
        self.about = {"spec": vars(spec), "specs": {"real": vars(spec)}, "target": "real", "network": "G",
                      "model": {"name": "dcgan"}, "export": {"inputs": ["z", "labels"], "output": "image"}}


class Set:
    """Labels alone."""

    name, shape, content, remarks, unlabelled = "the data", (3, 4, 4), "", (), ""

    def __init__(self, table: list, names: str) -> None:
        self.labels = None if not table else np.array(table, np.int64 if np.ndim(table) == 1 else np.uint8)
        self.classes = tuple(names.split())


def drawn(spec: Spec, reals: Set) -> tuple[list, tuple[str, ...], list[str]]:
    """The distinct labels of 60 samples, names of the generator's classes, remarks."""
    samples, remarks = samples_of(Painter(spec), 60, reals)
    found = samples.labels(Draws(0, 0, "evaluate", torch.arange(60)))
    return sorted(set(map(tuple, found.tolist()) if found.dim() > 1 else found.tolist())), samples.classes, remarks


def conditioned(names: str, **kind: int) -> Spec:
    return Spec("image", (3, 4, 4), **kind, label_names=tuple(names.split()))


@pytest.mark.parametrize(("spec", "reals", "expected", "words"), [
    (conditioned("cat dog frog", classes=3), Set([0, 1, 2], "cat dog frog"), [0, 1, 2], ""),
    (conditioned("cat dog frog", classes=3), Set([0, 0, 1], "frog cat dog"), [0, 2], "the data has no images of dog"),
    (conditioned("cat dog frog", classes=3), Set([0, 1], "cat frog"), [0, 2], "no images of dog, so none are sampled"),
    (conditioned("cat dog frog", classes=3), Set([1, 2, 3], "ape cat dog frog"), [0, 1, 2], ""),
    (conditioned("", classes=3), Set([0, 1, 2], "a b c"), [0, 1, 2], "record the names of its classes; .*: a, b, c"),
    (conditioned("cat dog", classes=2), Set([], ""), [0, 1], "the data has no labels"),
    (conditioned("smiles young", attributes=2), Set([[0, 1], [0, 1]], "young smiles"), [(1, 0)], ""),
    (conditioned("smiles young", attributes=2), Set([[1, 0, 1], [0, 1, 0]], "old young smiles"), [(0, 1), (1, 0)], ""),
], ids=["the same", "another order, and one class is missing", "fewer classes", "a class without images",
        "an old export", "no labels", "attributes in another order", "further attributes"])
def test_a_generator_draws_the_classes_of_the_data_by_their_names(spec: Spec, reals: Set, expected: list, words: str
                                                                  ) -> None:
    found, names, remarks = drawn(spec, reals)
    assert found == expected and names == (spec.label_names or reals.classes)
    assert len(remarks) == bool(words) and re.search(words, "".join(remarks))


@pytest.mark.parametrize(("spec", "reals", "words"), [
    (conditioned("cat dog", classes=2), Set([0, 1], "cat ape"),
     "the data has the classes ape, which the generator lacks; the generator has cat, dog, and the data has cat, ape"),
    (conditioned("smiles young", attributes=2), Set([[0, 1]], "smiles old"),
     "the generator has the attributes young, which the data lacks"),
    (conditioned("", classes=3), Set([0, 1], "a b"), "conditioned on 3 classes, but the data has 2 classes"),
    (conditioned("a b", classes=2), Set([[0, 1]], "a b"), "conditioned on 2 classes, but the data has 2 attributes"),
], ids=["a class that it never saw", "an attribute that the data lacks", "another number", "another kind"])
def test_labels_that_differ_are_refused_with_both_lists(spec: Spec, reals: Set, words: str) -> None:
    with pytest.raises(UserError, match=words):
        drawn(spec, reals)


def test_the_images_that_a_game_translates_are_relabelled_too() -> None:
    spec = conditioned("cat dog", classes=2)
    given = Set([0, 1, 1], "dog cat")
    assert labels.relabelled(given, spec, "G").labels.tolist() == [1, 0, 0] and given.labels.tolist() == [0, 1, 1]
    assert labels.relabelled(given, Spec("image", (3, 4, 4)), "G").labels.tolist() == [0, 1, 1]


@pytest.mark.slow
def test_runs_and_exports_keep_the_names_of_their_classes(finished_run: Path, tmp_path: Path) -> None:
    generator = exports.load(finished_run)
    exports.save(generator, tmp_path / "g.safetensors")
    for one in (generator, exports.load(tmp_path / "g.safetensors")):
        assert Spec.of(one.about["spec"]).label_names == ("a", "b", "c", "d")


def test_specs_remember_names_and_do_without() -> None:
    spec = conditioned("cat dog", classes=2)
    assert Spec.of(json.loads(json.dumps(vars(spec)))).label_names == ("cat", "dog")
    old = {name: value for name, value in vars(spec).items() if name != "label_names"}
    assert Spec.of(old) == spec and Spec.of(old).label_names == ()
