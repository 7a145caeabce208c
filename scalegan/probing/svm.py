"""Linear L2-SVMs on features, by scikit-learn: squared hinge, one for each class or attribute."""

import warnings
from dataclasses import dataclass

import numpy as np

from scalegan.errors import UserError
from scalegan.support.progress import Bar

_CS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_CHOSEN_ON = 4000           # images at most, so that choosing C takes no longer than the fit
_FOLDS = 5                  # of which one is held out; in turn each of them, if there are few images
_FEW = 1000
_BYTES = 8 + 16 + 4         # a value's, as float64, in liblinear's own copy, and as float32 before
_BIAS = 10.0                # what weighs the bias, which liblinear regularises: labels are not balanced


@dataclass(frozen=True)
class SVM:
    """Linear classifiers on standardised features.

    Args:
        mean, deviation: of the features, [d].
        weights, biases: [d, K] and [K].
        exclusive: the labels are classes, of which each image has one.
        C: the inverse strength of regularisation that was chosen.
    """

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    exclusive: bool
    C: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Classes [n], or attributes [n, K], of features [n, d]."""
        scores = (features - self.mean) / self.deviation @ self.weights + self.biases
        return scores.argmax(1) if self.exclusive else (scores > 0).astype(np.int64)


def check_memory(count: int, width: int, what: str) -> None:
    """Raises UserError if SVMs on `count` images with `width` features each need more memory than is free."""
    import psutil

    free, needed = psutil.virtual_memory().available, count * width * _BYTES
    if needed > free:
        raise UserError(f"SVMs on {what} of {count:,} images, {width:,} each, take {needed / 1e9:.1f} GB of memory, "
                        f"but {free / 1e9:.1f} GB are free; set --labels {int(0.8 * count * free / needed)} or fewer")


def check_installed() -> None:
    """Raises UserError if scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UserError("a probe needs scikit-learn: pip install 'scalegan[probe]'") from None


def fit(features: np.ndarray, labels: np.ndarray, outputs: int, what: str) -> SVM:
    """Fits SVMs, with the C that is best on images that it was not fitted on: a fifth of 4,000, or of fewer than 1,000
    each fifth in turn.

    Args:
        features: float32 [n, d], in random order.
        labels: classes [n], or attributes [n, K].
        outputs: number of classes or attributes.
        what: the name of the progress bar.
    """
    mean, deviation = features.mean(0), features.std(0)
    deviation[deviation == 0] = 1
    scaled = np.subtract(features, mean, dtype=np.float64)
    scaled /= deviation
    exclusive = labels.ndim == 1
    truth = np.arange(outputs) == labels[:, None] if exclusive else labels > 0
    folds = _FOLDS if len(scaled) <= _FEW else 1
    with Bar(what, outputs * (len(_CS) * folds + 1), unit="SVMs") as bar:
        C = _best(scaled[:_CHOSEN_ON], truth[:_CHOSEN_ON], exclusive, folds, bar)
        weights, biases = _all(scaled, truth, C, bar)
        bar.advance(bar.total - bar.done)
    return SVM(mean, deviation, weights, biases, exclusive, C)


def _best(features: np.ndarray, truth: np.ndarray, exclusive: bool, folds: int, bar: Bar) -> float:
    """The C with the fewest errors on the folds that are held out. Once ten times the best so far is worse, larger ones
    are left out: they take the longest."""
    place, best, least = np.arange(len(features)) % _FOLDS, _CS[0], np.inf
    for C in _CS:
        wrong = 0.0
        for fold in range(folds):
            held_out = place == _FOLDS - 1 - fold
            weights, biases = _all(features[~held_out], truth[~held_out], C, bar)
            scores, true = features[held_out] @ weights + biases, truth[held_out]
            wrong += (scores.argmax(1) != true.argmax(1)).sum() if exclusive else ((scores > 0) != true).sum()
        if wrong < least:
            best, least = C, wrong
        elif wrong > least and C / best > 5:
            break
    return best


def _all(features: np.ndarray, truth: np.ndarray, C: float, bar: Bar) -> tuple[np.ndarray, np.ndarray]:
    """Weights [d, K] and biases [K] of a classifier for each column of 0 and 1 [n, K]."""
    found = []
    for column in truth.T:
        found.append(_one(features, column, C))
        bar.advance(1)
    return np.stack([weights for weights, _ in found], 1), np.array([bias for _, bias in found])


def _one(features: np.ndarray, truth: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    if truth.all() or not truth.any():
        return np.zeros(features.shape[1]), np.inf if truth.all() else -np.inf
    model = LinearSVC(C=C, dual=features.shape[0] < features.shape[1], intercept_scaling=_BIAS, tol=1e-3,
                      random_state=0)
    with warnings.catch_warnings():     # about iterations, where C is so large that it will not be chosen
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, truth)
    return model.coef_[0], float(model.intercept_[0])
