"""Metrics of faces against their formulas, on one rank and two; what they refuse; and on a run, from end to end."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import harness
import numpy as np
import pytest
import sources_made as made
import torch
from face_photo import face_photo
from harness import spawn
from PIL import Image
from torch import Tensor, nn

from scalegan.checkpoints import exports
from scalegan.commands import evaluate, prepare
from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError, UserError
from scalegan.faces.alignment import aligned
from scalegan.faces.detection import Detector
from scalegan.faces.identity import Embedding
from scalegan.metrics import face_networks, faces, hamming, identity
from scalegan.metrics.face_networks import Faces, of_game

ALONE = Ranks(0, 1, torch.device("cpu"))
COUNT, SIDE = 7, 48
PEOPLE = np.array([3, 3, 5, 5, 5, 9, 9])
NAMES = ("Smiling", "Male", "Young")


@cache
def portraits(count: int) -> list[np.ndarray]:
    """One face with different colours, uint8 [218, 178, 3], as CelebA has it; skips the test without the packages."""
    photo = face_photo()
    face = aligned(photo, Detector()(photo)[0].landmarks).astype(np.float64)
    generator = np.random.default_rng(0)
    return [(face * generator.uniform(0.4, 1, 3) + generator.uniform(0, 60, 3)).clip(0, 255).astype(np.uint8)
            for _ in range(count)]


class Portraits:
    """Photos of faces, as evaluations read them."""

    classes, unlabelled, remarks, name, content = NAMES, "", (), "portraits", ""

    def __init__(self, people: np.ndarray | None = PEOPLE) -> None:
        self.people, self.shape = people, (3, SIDE, SIDE)
        self.labels = np.random.default_rng(1).integers(0, 2, (COUNT, len(NAMES)), np.uint8)
        self.pixels = [np.array(Image.fromarray(one[20:198]).resize((SIDE, SIDE))) for one in portraits(COUNT)]

    def __len__(self) -> int:
        return COUNT

    def read(self, number: int) -> np.ndarray:
        return self.pixels[number]

    def file(self, number: int) -> str:
        return f"{number}.jpg"


def chances(images: Tensor) -> Tensor:
    """Three different functions of a photo, between 0 and 1."""
    means = images.mean((2, 3))
    return torch.stack([(20 * (means[:, 0] + 0.2)).sigmoid(), torch.full_like(means[:, 0], 0.2),
                        (20 * (means[:, 1] + 0.2)).sigmoid()], 1)


def paled(images: Tensor, attributes: Tensor) -> Tensor:
    """Photos as they are, but pale ones where the second attribute is there."""
    return torch.where(attributes[:, 1, None, None, None] > 0.5, images * 0.3 + 0.5, images)


def made_faces(answer=lambda images: images, people: np.ndarray | None = PEOPLE) -> Faces:
    photos = Portraits(people)
    return Faces({"real": photos}, {"real": answer}, chances, paled, NAMES, photos.labels)


def measured(ranks: Ranks, given: Faces | None = None) -> tuple:
    return identity.of_photos(given or made_faces(lambda images: images.flip(3)), np.arange(COUNT), 2, ranks,
                              lambda count: None)


def embedded(given: Faces, images: Tensor) -> np.ndarray:
    landmarks = identity.median_landmarks(given.photos["real"], np.arange(COUNT), Detector())
    return Embedding()(images, landmarks).double().numpy()


@pytest.mark.slow
def test_identity_is_the_mean_distance_of_photos_from_their_answers() -> None:
    given = made_faces(lambda images: images.flip(3))
    stored = torch.from_numpy(np.stack(given.photos["real"].pixels)).movedim(3, 1)
    own, other = embedded(given, stored), embedded(given, stored.flip(3))
    near = np.linalg.norm(own - other, axis=1)
    figures, details = measured(ALONE, given)
    assert figures["identity"] == pytest.approx(near.mean(), rel=1e-6)

    apart, alike = np.linalg.norm(own[:, None] - own, axis=2), PEOPLE[:, None] == PEOPLE
    upper = np.triu(np.ones((COUNT, COUNT), bool), 1)
    for name, pairs in (("same_person", alike & upper), ("different_people", ~alike & upper)):
        assert details[name] == {"distance": pytest.approx(apart[pairs].mean(), rel=1e-6), "pairs": pairs.sum()}
    farther = [np.mean(apart[i][~alike[i]] > near[i]) for i in range(COUNT)]
    assert figures["identity_kept"] == pytest.approx(np.mean(farther)) and 0 < np.mean(farther) < 1
    assert details["embedding"] == Embedding().identity


@pytest.mark.slow
def test_who_stays_the_same_is_kept_and_an_attribute_that_changes_nothing_has_no_distance() -> None:
    figures, details = measured(ALONE, made_faces())
    assert (figures["identity"], figures["identity_kept"]) == (0, 1)
    assert details["inverted"] == {"Smiling": 0, "Male": pytest.approx(0.2, abs=0.19), "Young": 0}
    assert details["inverted"]["Male"] > 0.01


@pytest.mark.slow
def test_without_names_all_photos_are_of_different_people() -> None:
    _, details = measured(ALONE, made_faces(people=None))
    assert details["same_person"] == {"distance": None, "pairs": 0}
    assert details["different_people"]["pairs"] == COUNT * (COUNT - 1) // 2


@pytest.mark.slow
def test_two_domains_have_a_figure_each() -> None:
    photos = Portraits()
    given = Faces({"A": photos, "B": photos}, {"A": lambda images: images, "B": lambda images: images.flip(3)})
    figures, details = measured(ALONE, given)
    assert figures["identity_A"] == 0 < figures["identity_B"] == pytest.approx(2 * figures["identity"])
    assert details["inverted"] == {} and details["same_person"]["pairs"] > (PEOPLE[:, None] == PEOPLE).sum()


def recognised(ranks: Ranks) -> tuple:
    return hamming.of_photos(made_faces(), np.arange(COUNT), 2, ranks, lambda count: None)


def test_hamming_is_the_share_of_attributes_that_are_wrong() -> None:
    given = made_faces()
    images = torch.from_numpy(np.stack(given.photos["real"].pixels)).movedim(3, 1) / 127.5 - 1
    wrong = (chances(images).numpy() > 0.5) != given.attributes
    figures, details = recognised(ALONE)
    assert figures == {"attribute_hamming": pytest.approx(wrong.mean())} and 0 < wrong.mean() < 1
    present = given.attributes.mean(0)
    assert details["majority"] == pytest.approx(np.minimum(present, 1 - present).mean())
    for column, name in enumerate(NAMES):
        assert details["by_attribute"][name] == {
            "wrong": pytest.approx(wrong[:, column].mean()),
            "majority": pytest.approx(min(present[column], 1 - present[column]))}


@pytest.mark.slow
def test_two_ranks_find_the_same_bits() -> None:
    portraits(1)
    assert spawn(2, measured) == [measured(ALONE)] * 2
    assert spawn(2, recognised) == [recognised(ALONE)] * 2


@pytest.mark.parametrize(("metric", "given", "said"), [
    ("identity", SimpleNamespace(name="photos"), "does not turn faces into faces; use a run of game.name=iterative"),
    ("identity", SimpleNamespace(name="photos", faces=None), "does not turn faces into faces"),
    ("attribute_hamming", SimpleNamespace(name="photos", faces=Faces({}, {})), "does not recognise attributes; use a"),
    ("attribute_hamming", SimpleNamespace(faces=Faces({"real": SimpleNamespace(name="lfw")}, {}, chances)),
     "lfw has no attributes; name photos that have them with --data"),
], ids=["a folder", "another game", "a game without attributes", "photos without attributes"])
def test_what_has_no_such_figure_is_refused_in_a_line(metric: str, given: object, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        faces.check({metric}, given)
    assert "\n" not in str(raised.value)
    faces.check({"fid"}, given)


def test_photos_without_a_face_are_refused_in_a_line() -> None:
    given = made_faces()
    given.photos["real"].pixels = [np.full((SIDE, SIDE, 3), 90, np.uint8)] * COUNT
    with pytest.raises(UserError, match="there is no face in the first 7 of the images of portraits; identity needs"):
        measured(ALONE, given)


class Network(nn.Module):
    """One of a game's networks, which works by a function."""

    def __init__(self, work=None, game: str = "stargan", names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.work, self.names = work, names
        spec = Spec("image", (3, SIDE, SIDE), attributes=len(NAMES), label_names=NAMES)
        self.about = {"recipe": {"game": {"name": game}}, "specs": {"real": vars(spec)}}

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.work(*inputs)


def labelled(shape: tuple[int, int, int] = (3, SIDE, SIDE), classes: tuple[str, ...] = NAMES) -> SimpleNamespace:
    return SimpleNamespace(labels=np.array([[0, 1, 1], [1, 1, 0]], np.uint8), classes=classes, shape=shape,
                           name="photos", people=None)


def test_stargan_knows_some_of_the_attributes_and_keeps_those_that_it_sees() -> None:
    logits = torch.tensor([[3.0, -1], [-2, 5]])
    given = of_game({"G": Network(lambda images, labels: images + labels.sum(1), names=("Young", "Smiling")),
                     "C": Network(lambda images: logits)}, {"real": labelled()}, "runs/star")
    assert given.names == ("Young", "Smiling") and given.attributes.tolist() == [[1, 0], [0, 1]]
    assert torch.equal(given.recognise(torch.zeros(2)), logits.sigmoid())
    assert given.answers["real"](torch.zeros(2)).tolist() == [1, 1]
    assert given.transform(torch.zeros(2), torch.tensor([[0.6, 0.7], [0.4, 0.2]])).tolist() == [2, 0]


@pytest.mark.parametrize(("networks", "photos", "said"), [
    ({"G": Network()}, labelled(), "runs/x has no network C, which metrics of faces need; give its run"),
    ({"G": Network(game="iterative")}, labelled(), "has no network recognise or rebuild or transform"),
    ({"G": Network(), "C": Network()}, labelled((3, 32, 32)), "photos has images of 32 x 32 px, 3 channels, but ru"),
    ({"G": Network(names=NAMES), "C": Network()}, labelled(classes=("Smiling", "Male", "Bald")), "Young"),
], ids=["a generator alone", "G of the iterative GAN alone", "another size", "other attributes"])
def test_networks_or_photos_that_do_not_fit_are_refused_in_a_line(networks, photos, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        of_game(networks, {"real": photos}, "runs/x")
    assert "\n" not in str(raised.value)


def test_a_game_without_photos_has_none() -> None:
    assert of_game({"G": Network(game="gan")}, {"real": labelled()}, "runs/x") is None
    assert set(face_networks._NETWORKS) == {"iterative", "stargan", "cyclegan"}


@pytest.mark.slow
def test_a_run_and_its_export_are_measured_alike(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    count = 24
    texts = {name: content for name, content in made.celeba_files(count).items() if name.endswith(".txt")}
    made.write_files(tmp_path / "celeba", texts | {
        f"img_align_celeba/{i + 1:06d}.jpg": made.encoded(one) for i, one in enumerate(portraits(count))})
    assert prepare.main([str(tmp_path / "celeba"), str(tmp_path / "set"), "--kind", "celeba", "--resolution", "48",
                         "--workers", "1"]) == 0
    run = tmp_path / "run"
    harness.launch(1, "recipe=iterative_celeba", f"data.path={tmp_path / 'set'}", "data.resolution=48",
                   "data.workers=0", "data.block_records=4", "data.window_blocks=2", "game.width=2", "game.hidden=8",
                   "game.latent_dim=4", "game.norm_group=4", "batch_size=8", "micro_batch_size=4", "total_images=16",
                   "precision=fp32", f"run_dir={run}", "log={every_images: 16, tensorboard: false}",
                   "snapshot={every_images: 16, rows: 2, columns: 2}", "checkpoint.every_images=16")
    exports.save(exports.load_all(run), tmp_path / "export.safetensors")
    exports.save(exports.load(run), tmp_path / "G.safetensors")
    asked = ["--metrics", "identity,attribute_hamming", "--num-samples", "20"]
    found = []
    for source in ([str(run)], [str(tmp_path / "export.safetensors"), "--data", str(tmp_path / "set")]):
        capsys.readouterr()
        assert evaluate.main([*source, *asked]) == 0
        found.append(json.loads(capsys.readouterr().out))
    for key in ("metrics", "identity", "attribute_hamming", "constants"):
        assert found[0][key] == found[1][key]
    assert 0 < found[0]["metrics"]["identity"] < 2 and found[0]["num_photos"] == 20
    assert set(found[0]["identity"]["inverted"]) == set(made.ATTRIBUTE_NAMES)
    assert found[0]["identity"]["same_person"]["pairs"] > 0
    assert json.loads((run / "evaluations.jsonl").read_text())["metrics"] == found[0]["metrics"]
    for source, said in (([str(tmp_path / "export.safetensors")], "name labelled data with --data"),
                         ([str(tmp_path / "G.safetensors"), "--data", str(tmp_path / "set")], "has no network recogn"),
                         ([str(tmp_path / "celeba")], "does not turn faces into faces")):
        with pytest.raises(UserError, match=said):
            evaluate.main([*source, "--metrics", "identity"])
