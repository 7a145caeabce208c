"""Linear L2-SVMs: their objective, the scale of features, and labels that hardly occur."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from scalegan.errors import UserError
from scalegan.probing import svm


def clouds(count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Points [count, 6] around a centre for each class, and their classes."""
    random = np.random.default_rng(count)
    labels = random.integers(classes, size=count)
    centres = 4 * np.eye(6)[:classes]
    return (centres[labels] + random.normal(size=(count, 6))).astype(np.float32), labels


@pytest.mark.slow
def test_classes_and_attributes_are_learnt_whatever_the_scale_of_features() -> None:
    (points, labels), (unseen, truth) = clouds(300), clouds(200)
    scale = np.array([1e-3, 1e3, 1, 5, 1, 1], np.float32)
    plain = svm.fit(points, labels, 3, "SVMs")
    assert (plain.predict(unseen) == truth).mean() > 0.9
    scaled = svm.fit(points * scale, labels, 3, "SVMs")
    assert (scaled.predict(unseen * scale) == plain.predict(unseen)).mean() > 0.99
    attributes, true_attributes = np.eye(3, dtype=int)[labels], np.eye(3, dtype=int)[truth]
    assert (svm.fit(points, attributes, 3, "SVMs").predict(unseen) == true_attributes).mean() > 0.9


@pytest.mark.slow
def test_it_minimises_the_squared_hinge_and_the_norm_of_the_weights() -> None:
    """At the minimum the gradient of |w|^2 / 2 + C sum max(0, 1 - y s)^2 with respect to w is zero."""
    points, labels = clouds(200, 2)
    scaled = (points - points.mean(0)) / points.std(0)
    weights, bias = svm._one(scaled.astype(np.float64), labels == 1, 0.01)
    signs = np.where(labels == 1, 1, -1)
    slack = np.maximum(0, 1 - signs * (scaled @ weights + bias))
    gradient = weights - 2 * 0.01 * (signs * slack) @ scaled
    assert np.abs(gradient).max() < 0.02 * np.abs(weights).max()


@pytest.mark.slow
def test_labels_that_never_or_always_occur_are_predicted_so() -> None:
    points, labels = clouds(100, 2)
    assert set(svm.fit(points, labels, 5, "SVMs").predict(points)) <= {0, 1}
    attributes = np.stack([labels, np.zeros_like(labels), np.ones_like(labels)], 1)
    predicted = svm.fit(points, attributes, 3, "SVMs").predict(points)
    assert (predicted[:, 1] == 0).all() and (predicted[:, 2] == 1).all()


def test_more_than_the_free_memory_is_refused_with_a_number_of_labels_that_fits(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**9))
    svm.check_memory(10_000, 3_000, "features of D")
    with pytest.raises(UserError, match=r"50,000 images, 3,584 each, take 5.0 GB of memory, but 1.0 GB are free; set "
                                        r"--labels (\d+) or fewer") as error:
        svm.check_memory(50_000, 3_584, "features of D")
    svm.check_memory(int(str(error.value).split("--labels ")[1].split()[0]), 3_584, "features of D")
