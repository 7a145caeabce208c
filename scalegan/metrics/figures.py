"""Figures from the features of two sets, by metric name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from scalegan.metrics import frechet, inception_score, kernel, manifold
from scalegan.metrics.features import SetFeatures
from scalegan.metrics.gaussian import Moments

Figures = dict[str, float]


def constants(asked: tuple[str, ...], kid_subset: int) -> dict[str, str]:
    """What a figure depends on besides the images and their features."""
    known = {"kid": f"cubic kernel, {kernel.SUBSETS} subsets of {kid_subset}, seed {kernel.SEED}",
             "is": f"{inception_score.SPLITS} splits, seed {inception_score.SEED}",
             "prc": f"k = {manifold.PRC_NEIGHBOURS}, balls with their boundary",
             "prdc": f"k = {manifold.PRDC_NEIGHBOURS}, balls without their boundary"}
    return {name: text for name, text in known.items() if name in asked}


def fid(fakes: SetFeatures, reals: SetFeatures) -> Figures:
    return {"fid": frechet.of_moments(fakes.moments, reals.moments)}


def kid(fakes: SetFeatures, reals: SetFeatures, subset: int = kernel.SUBSET_SIZE) -> Figures:
    mean, deviation = kernel.kernel_distance(fakes.vectors, reals.vectors, subset_size=subset)
    return {"kid": mean, "kid_std": deviation}


def score(fakes: SetFeatures, reals: SetFeatures | None) -> Figures:
    mean, deviation = inception_score.inception_score(fakes.logits)
    return {"is": mean, "is_std": deviation}


def prc(fakes: SetFeatures, reals: SetFeatures) -> Figures:
    return manifold.precision_recall(fakes.vectors, reals.vectors)


def prdc(fakes: SetFeatures, reals: SetFeatures) -> Figures:
    return manifold.prdc(fakes.vectors, reals.vectors)


OF_FEATURES: Mapping[str, Callable[[SetFeatures, SetFeatures | None], Figures]] = {
    "fid": fid, "kid": kid, "is": score, "prc": prc, "prdc": prdc}


def of_features(asked: tuple[str, ...], fakes: SetFeatures, reals: SetFeatures | None, kid_subset: int) -> Figures:
    """The figures of those `asked` metrics that features determine. If they include both prc and prdc, whose k differ,
    `precision` and `recall` are prc's, and prdc's get the prefix `prdc_`."""
    found: Figures = {}
    for name, work in {**OF_FEATURES, "kid": partial(kid, subset=kid_subset)}.items():
        if name not in asked:
            continue
        figures = work(fakes, reals)
        found |= {f"{name}_{key}" if key in found else key: value for key, value in figures.items()}
    return found


def by_class(fakes: SetFeatures, fake_classes: np.ndarray, reals: SetFeatures,
             real_classes: np.ndarray) -> dict[int, float]:
    """The Fréchet distance within each class with two or more images in both sets (intra-FID, Miyato & Koyama 2018)."""
    found = {}
    for number in np.intersect1d(fake_classes, real_classes).tolist():
        of_fakes, of_reals = np.flatnonzero(fake_classes == number), np.flatnonzero(real_classes == number)
        if min(len(of_fakes), len(of_reals)) > 1:
            found[number] = frechet.of_moments(Moments.of(fakes.vectors[of_fakes]), Moments.of(reals.vectors[of_reals]))
    return found


def standard_errors(asked: tuple[str, ...], fakes: SetFeatures, reals: SetFeatures | None, kid_subset: int,
                    resamples: int) -> Figures:
    """Standard deviation of each figure over resamples of the two sets with replacement (Efron, 1979)."""
    generator = np.random.Generator(np.random.Philox(key=0))
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        pair = [None if one is None else _resampled(one, generator) for one in (fakes, reals)]
        for name, value in of_features(asked, *pair, kid_subset).items():
            drawn.setdefault(name, []).append(value)
    return {name: float(np.std(values, ddof=1)) for name, values in drawn.items() if not name.endswith("_std")}


def _resampled(one: SetFeatures, generator: np.random.Generator) -> SetFeatures:
    rows = torch.from_numpy(generator.integers(0, len(one.vectors), len(one.vectors)))
    vectors = one.vectors[rows]
    return replace(one, moments=Moments.of(vectors), vectors=vectors,
                   logits=None if one.logits is None else one.logits[rows])


def warnings_about(asked: tuple[str, ...], fakes: SetFeatures, reals: SetFeatures | None, kid_subset: int) -> list[str]:
    """Warnings about figures from too few images."""
    found = []
    sets = [("samples", fakes)] + ([("real images", reals)] if reals else [])
    for what, one in sets:
        count, dim = one.moments.count, one.moments.dim
        if {"fid", "class_fid"} & set(asked) and count < dim:
            found.append(f"the Fréchet distance is over {count:,} {what}, fewer than the {dim:,} feature dimensions: "
                         "it is biased upwards; compare it only at the same number of images")
        kept = len(one.vectors) if one.vectors is not None else count
        if kept < count:
            found.append(f"metrics over samples use {kept:,} of the {count:,} {what}, drawn at random, to limit memory")
    count, what = min((one.moments.count, what) for what, one in sets)
    if "kid" in asked and count < kid_subset:
        found.append(f"KID's subsets have {count:,} images, not {kid_subset:,}: there are no more {what}")
    if "is" in asked and fakes.logits is not None and fakes.moments.count < fakes.logits.shape[1]:
        found.append(f"the inception score is over {fakes.moments.count:,} samples, fewer than the "
                     f"{fakes.logits.shape[1]:,} classes")
    return found
