"""Alignment finds the similarity between landmarks, and samples the photo without aliasing."""

import numpy as np
import pytest

from scalegan.data.picture import crop, resize
from scalegan.faces.alignment import LANDMARKS, SIZE, aligned, in_square, similarity, warped


def transform(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


STAYS = transform(0, 1, (0, 0))


def places(height: int, width: int, moved: np.ndarray = STAYS) -> np.ndarray:
    """x and y of the middle of each pixel, moved, [2, height, width]."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.moveaxis(np.stack([x, y, np.ones_like(x)], 2) @ moved.T, 2, 0)


def waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What a smooth picture has at some places."""
    return np.rint(127 + 60 * np.stack([np.sin(x / 40), np.cos(y / 50), np.sin((x + y) / 60)], 2)).astype(np.uint8)


@pytest.mark.parametrize("true", [transform(0, 1, (0, 0)), transform(33, 0.2, (50, -7)), transform(-170, 4, (1, 1))],
                         ids=["none", "turned, reduced and moved", "almost upside down"])
def test_similarity_finds_the_transform_that_was_made(true: np.ndarray) -> None:
    moved = LANDMARKS @ true[:, :2].T + true[:, 2]
    np.testing.assert_allclose(similarity(LANDMARKS, moved), true, atol=1e-9)


def test_similarity_is_nearest_in_least_squares() -> None:
    """No similarity nearby is nearer, though the targets are mirrored and noisy."""
    targets = LANDMARKS * [-1, 1] + np.random.default_rng(0).normal(0, 5, (5, 2))

    def error(t: np.ndarray) -> float:
        return float(((LANDMARKS @ t[:, :2].T + t[:, 2] - targets) ** 2).sum())

    best = similarity(LANDMARKS, targets)
    assert best[0, 0] == best[1, 1] and best[0, 1] == -best[1, 0]
    for change in (transform(90, 1e-3, (0, 0)), transform(0, 1e-3, (0, 0)), transform(0, 0, (0.1, 0)),
                   transform(0, 0, (0, 0.1))):
        assert error(best) < min(error(best + change), error(best - change))


@pytest.mark.parametrize("made", [transform(0, 1, (-30, -20)), transform(20, 0.5, (20, -40)),
                                  transform(-8, 3, (-400, -300)), transform(45, 0.2, (90, -30))],
                         ids=["cut out", "turned and reduced", "enlarged", "reduced a lot"])
def test_every_pixel_is_what_the_photo_has_there(made: np.ndarray) -> None:
    x, y = places(*SIZE, np.linalg.inv(np.vstack([made, [0, 0, 1]]))[:2])
    inside = (np.minimum(x, y) > 20) & (np.maximum(x, y) < 880)
    found = warped(waves(*places(900, 900)), made, SIZE).astype(int)
    assert inside.mean() > 0.3 and np.abs(found - waves(x, y))[inside].max() <= 4


def test_landmarks_come_to_rest_where_celeba_has_them() -> None:
    true = transform(15, 0.4, (20, 10))
    landmarks = (LANDMARKS - true[:, 2]) @ np.linalg.inv(true[:, :2]).T
    photo = np.zeros((600, 600, 3), np.uint8)
    for x, y in landmarks.round().astype(int):
        photo[y - 4 : y + 4, x - 4 : x + 4] = 255
    seen = aligned(photo, landmarks)
    assert seen.shape == (218, 178, 3) and seen.dtype == np.uint8
    for x, y in LANDMARKS.astype(int):
        assert seen[y, x].min() > 150
    assert (seen > 100).mean() < 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_a_fine_pattern_becomes_its_mean_where_it_is_reduced(channels: int) -> None:
    stripes = np.zeros((2000, 2000, channels), np.uint8)
    stripes[::2] = 255
    seen = warped(stripes, transform(30, 0.1, (90, -20)), SIZE)
    assert seen.shape == (*SIZE, channels) and np.abs(seen.astype(int) - 127).max() <= 6


def test_the_outermost_pixels_are_repeated_beyond_the_edges() -> None:
    photo = np.full((40, 40, 3), 50, np.uint8)
    photo[:, -1], photo[0] = 250, 120
    seen = warped(photo, transform(0, 1, (70, 80)), SIZE)
    assert (seen[90:, :60] == 50).all() and (seen[90:, 120:] == 250).all() and (seen[:70, :100] == 120).all()


@pytest.mark.parametrize("how", ["center", "celeba178"])
def test_a_square_as_of_the_prepared_sets_can_be_cut(how: str) -> None:
    photo = waves(*places(300, 300))
    assert crop(aligned(photo, LANDMARKS + 40), how).shape == (178, 178, 3)


def test_landmarks_in_a_square_are_where_prepare_puts_them() -> None:
    photo = np.zeros((*SIZE, 3), np.uint8)
    for x, y in LANDMARKS.round().astype(int):
        photo[y - 4 : y + 4, x - 4 : x + 4] = 255
    square = resize(crop(photo, "center"), 64, 3, "lanczos")
    for x, y in in_square(64).astype(int):
        assert square[y, x].min() > 150
    assert (square > 100).mean() < 0.02


def test_a_photo_of_one_pixel_is_all_one_colour() -> None:
    assert (aligned(np.full((1, 1, 3), 77, np.uint8), LANDMARKS) == 77).all()
