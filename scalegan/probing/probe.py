"""Scores of linear SVMs on a run's features, beside what is simpler than these (Radford et al., 2016, section 5.1)."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.pixels import from_levels
from scalegan.errors import UsageError
from scalegan.probing import svm
from scalegan.probing.classifier import fit_cnn, size_of
from scalegan.probing.features import features_of, name_of, network_of, settle, spec_of, untrained
from scalegan.probing.labelled import HELD_OUT, Labelled, few, halves, matching, open_labelled
from scalegan.support.progress import Bar

_SIDE = 32          # pixels are averaged to at most so many a side
_SIDE_3D = 16       # and voxels
_AT_ONCE = 512

Features = Callable[..., Tensor]        # of images, and the name of a progress bar
Predict = Callable[[Tensor], np.ndarray]


def probe(path: str | Path, data: str, test: str | None = None, labels: int | None = None,
          with_cnn: bool = False) -> dict[str, Any]:
    """The result of `scalegan probe`.

    Args:
        path: a run or checkpoint, or an export with an encoder.
        data: labelled images to learn from, and to test on where `test` is None.
        labels: how many of them to learn from; None for all.
        with_cnn: train a CNN of the network's size on the same labels, too.

    Raises:
        UserError: if any of these does not fit the others, is damaged, or takes more memory than there is.
    """
    svm.check_installed()
    network = network_of(path)
    if with_cnn and spec_of(network).kind == "volume":
        raise UsageError(f"--baseline cnn trains a classifier of images, and {path} was trained on volumes; leave it "
                         "out")
    train, tested = _sets(data, test, labels, network)
    name = name_of(network)
    networks = {name: network, "untrained": untrained(network)}
    readers: dict[str, Features] = {each: partial(features_of, one) for each, one in networks.items()}
    readers["pixels"] = pixels_of
    first = train[:1].pixels()
    widths = {each: read(first).shape[1] for each, read in readers.items()}
    widest = max(widths, key=widths.__getitem__)
    svm.check_memory(len(train), widths[widest], f"features of {widest}" if widest in networks else widest)
    images = train.read("images to learn from")
    for one in networks.values():
        settle(one, images)

    predict: dict[str, Predict] = {"majority": _majority(train)}
    chosen = {}
    for each, read in readers.items():
        features = read(images, f"features: {each}").numpy()
        fitted = svm.fit(features, train.labels.numpy(), len(train.names), f"SVMs: {each}")
        predict[each], chosen[each] = _predictor(read, fitted), fitted.C
    if with_cnn:
        predict["cnn"] = _cnn(images, train, size_of(network))
    scores = _scores(predict, tested)
    return _score(scores.pop(name), tested) | {
        "baselines": {each: _summary(score) for each, score in scores.items()},
        "network": name, "features": widths[name], "C": chosen, "run": str(path), "images": network.about["images"],
        "train": {"path": train.images.name, "content": train.images.content, "labels": len(train)},
        "test": {"path": tested.images.name, "content": tested.images.content, "images": len(tested),
                 "split": "all of --test" if test else f"1 in {HELD_OUT} of --data, random but always the same"}}


def line(result: Mapping[str, Any]) -> str:
    """The result in a sentence."""
    kind = "accuracy" if "accuracy" in result else "hamming_loss"
    others = ", ".join(f"{name} {100 * value:.1f} %" for name, value in
                       sorted(result["baselines"].items(), key=lambda one: one[1], reverse=kind == "accuracy"))
    return (f"{kind.replace('_', ' ')} of a linear SVM on {result['network']}'s {result['features']:,} features: "
            f"{100 * result[kind]:.1f} %; {others} ({result['train']['labels']:,} labels, "
            f"{result['test']['images']:,} test images)")


def pixels_of(images: Tensor, what: str = "") -> Tensor:
    """Pixels [n, C * H * W] in [-1, 1], averaged to 32 px where the images are larger, or voxels in [0, 1], to 16;
    called like `features_of`."""
    averaged, most = (F.adaptive_avg_pool3d, _SIDE_3D) if images.dim() == 5 else (F.adaptive_avg_pool2d, _SIDE)
    size = tuple(min(side, most) for side in images.shape[2:])
    return torch.cat([averaged(from_levels(part), size).flatten(1) for part in images.split(_AT_ONCE)])


def _sets(data: str, test: str | None, labels: int | None, network: nn.Module) -> tuple[Labelled, Labelled]:
    """Images to learn from and images to test on."""
    spec = spec_of(network)
    train = open_labelled(data, spec)
    train, tested = (train, matching(open_labelled(test, spec, "--test"), train)) if test else halves(train)
    if test and tested.images.content == train.images.content:
        raise UsageError(f"--test {test} has the same images as --data; leave it out, and a fifth of them is held out")
    return few(train, labels) if labels else train, tested


def _predictor(read: Features, fitted: svm.SVM) -> Predict:
    return lambda images: fitted.predict(read(images).numpy())


def _majority(train: Labelled) -> Predict:
    labels = train.labels
    usual = (labels.double().mean(0) > 0.5).long() if train.are_attributes else labels.bincount().argmax()
    return lambda images: usual.expand(len(images), *usual.shape).numpy()


def _cnn(images: Tensor, train: Labelled, parameters: int) -> Predict:
    classifier = fit_cnn(images, train.labels, len(train.names), parameters)

    def predict(images: Tensor) -> np.ndarray:
        logits = classifier.logits(images)
        return ((logits > 0).long() if train.are_attributes else logits.argmax(1)).numpy()
    return predict


def _scores(predict: Mapping[str, Predict], tested: Labelled) -> dict[str, np.ndarray]:
    """The share of labels that each gets right: [] for classes, [K] for attributes. Images are read once."""
    right = dict.fromkeys(predict, 0)
    with Bar("testing", len(tested)) as bar:
        for part in tested.parts():
            images, truth = part.pixels(), part.labels.numpy()
            for name, each in predict.items():
                right[name] = right[name] + (each(images) == truth).sum(0)
            bar.advance(len(part))
    return {name: count / len(tested) for name, count in right.items()}


def _summary(score: np.ndarray) -> float:
    """The accuracy over classes, or the Hamming loss: the share of attributes that are wrong."""
    return float(1 - score.mean() if np.ndim(score) else score)


def _score(score: np.ndarray, tested: Labelled) -> dict[str, Any]:
    if not tested.are_attributes:
        return {"accuracy": _summary(score)}
    return {"hamming_loss": _summary(score), "per_attribute": dict(zip(tested.names, score.tolist()))}
