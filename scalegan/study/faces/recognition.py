"""Which attributes faces have: the iterative GAN, DCGAN's features with an SVM, a plain CNN, the majority (5.1)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from scalegan.probing import svm
from scalegan.probing.classifier import fit_cnn
from scalegan.probing.features import features_of, network_of, settle
from scalegan.study.faces.bench import Bench, recognised
from scalegan.study.faces.claims import Claim, least
from scalegan.study.faces.dots import save_dots
from scalegan.study.faces.question import Question
from scalegan.study.faces.trainings import INTEGRATED
from scalegan.study.runs import minutes_of
from scalegan.study.tables import Column, Rows

FITTED = 4_000          # photos that SVMs learn from: forty take minutes
COLUMNS = {"hamming": Column("Hamming loss", 4), "better": Column("attributes better than the majority", 0),
           "equal": Column("equal", 0), "worse": Column("worse", 0), "minutes": Column("minutes", 1)}
ITERATIVE, SVM, CNN, MAJORITY = "iterative GAN", "DCGAN + L2-SVM", "CNN", "majority"
NOTE = (f"Hamming loss is the share of wrong attributes. SVMs learn from {FITTED:,} photos at most, the CNN from all. "
        "Minutes are those of the GAN's training.")


def measured(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """The figures of each row, and in `by_attribute` the share of photos for which each attribute is wrong."""
    found = {ITERATIVE: bench.kept("recognition", ITERATIVE, seed, [INTEGRATED], lambda: _of_iterative(bench, seed)),
             SVM: bench.kept("recognition", "SVM", seed, ["dcgan"], lambda: _of_svm(bench, seed)),
             CNN: bench.kept("recognition", CNN, seed, [], lambda: _of_cnn(bench, seed)),
             MAJORITY: bench.kept("recognition", MAJORITY, seed, [], lambda: _of_majority(bench))}
    usual = np.array(list(found[MAJORITY]["by_attribute"].values()))
    for name in (ITERATIVE, SVM, CNN):
        own = np.array(list(found[name]["by_attribute"].values()))
        found[name] |= {"better": int((own < usual).sum()), "equal": int((own == usual).sum()),
                        "worse": int((own > usual).sum())}
    for name, training in ((ITERATIVE, INTEGRATED), (SVM, "dcgan")):
        found[name]["minutes"] = minutes_of(bench.run(training, seed))
    return found


def claims(rows: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """From the medians."""
    return [least(f"the iterative GAN recognises better than {other}",
                  {name: rows[name]["hamming"] for name in (ITERATIVE, other)}, ITERATIVE, 4) for other in (SVM, CNN)]


def wrong(predicted: torch.Tensor, bench: Bench) -> dict:
    """Hamming loss, and the share of photos for which each attribute is wrong, of predictions [n, K] or [K]."""
    of_each = (predicted.bool() != bench.labels.bool()).float().mean(0)
    return {"hamming": float(of_each.mean()), "by_attribute": dict(zip(bench.names, of_each.tolist()))}


def _of_iterative(bench: Bench, seed: int) -> dict:
    return wrong(recognised(bench.network(INTEGRATED, seed, "recognise"), bench.photos) > 0.5, bench)


def _of_svm(bench: Bench, seed: int) -> dict:
    network, images = network_of(bench.run("dcgan", seed)), bench.to_learn[:FITTED]
    settle(network, images)
    fitted = svm.fit(features_of(network, images, "features").numpy(), bench.train.labels[:FITTED].numpy(),
                     len(bench.names), "SVMs")
    return wrong(torch.from_numpy(fitted.predict(features_of(network, bench.photos).numpy())), bench)


def _of_cnn(bench: Bench, seed: int) -> dict:
    return wrong(fit_cnn(bench.to_learn, bench.train.labels, seed=seed).logits(bench.photos) > 0, bench)


def _of_majority(bench: Bench) -> dict:
    return wrong(bench.train.labels.double().mean(0) > 0.5, bench)


def _draw(path: Path, bench: Bench, seed: int, rows: Rows) -> None:
    """The error of each attribute, those first that the majority gets wrong most often."""
    by_attribute = {name: rows[name][0]["by_attribute"] for name in (MAJORITY, SVM, CNN, ITERATIVE)}
    order = sorted(bench.names, key=by_attribute[MAJORITY].get, reverse=True)
    save_dots(path, {name: {each: values[each] for each in order} for name, values in by_attribute.items()})


QUESTION = Question("Recognition", NOTE, COLUMNS, lambda attributes: (INTEGRATED, "dcgan"), measured, claims,
                    lambda bench: svm.check_installed(), _draw)
