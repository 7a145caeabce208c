"""One evaluation of samples against real images, by all ranks together, with the same result on each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import scalegan.metrics.faces as faces
from scalegan.data.preparing.sources.survey import shortened
from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError, UserError
from scalegan.metrics import cache, cycles, figures, kernel, labels, manifold, neighbours, pairs, path_length, ssim
from scalegan.metrics.extractors.base import Extractor
from scalegan.metrics.features import SetFeatures, chosen, collect
from scalegan.metrics.gaussian import Moments
from scalegan.metrics.images import Images, check_same_shape
from scalegan.metrics.inception_score import SPLITS
from scalegan.metrics.samples import Samples
from scalegan.support.devices import has_float64
from scalegan.support.keys import key_of
from scalegan.support.progress import Bar

OF_ANSWERS = (*pairs.METRICS, *cycles.METRICS, *faces.METRICS)     # of networks from image to image
METRICS = ("fid", "kid", "is", "prc", "prdc", "ms_ssim", "ppl", "class_fid", *OF_ANSWERS)
WITHOUT_REALS = ("is", "ms_ssim", "ppl")
MS_SSIM_PAIRS = 1000
_ALIASES = {"fd": "fid", "class_fd": "class_fid", "isc": "is"}
_MAX_LISTED = 20        # unreadable files that a result lists


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation.

    Args:
        metrics: names from METRICS.
        num_samples: number of samples of a generator, or maximum number of images of a folder; None for all.
        num_reals: maximum number of real images; None for all.
        batch_size: the extractor's batch size.
        kid_subset: images in each of KID's subsets.
        bootstrap: resamples for error bars; 0 for none.
        nearest: where to save the picture of nearest real images, or None.
        perceptual: maps images to vectors whose squared distance is LPIPS, or None.
    """

    metrics: tuple[str, ...]
    num_samples: int | None = None
    num_reals: int | None = None
    batch_size: int = 32
    kid_subset: int = kernel.SUBSET_SIZE
    bootstrap: int = 0
    nearest: Path | None = None
    perceptual: Callable[[Tensor], Tensor] | None = None

    @property
    def keep(self) -> bool:
        """Whether the metrics need all feature vectors, not only their mean and covariance."""
        over_samples = {"kid", "is", "prc", "prdc", "class_fid"} & set(self.metrics)
        return bool(over_samples or self.bootstrap or self.nearest)

    @property
    def need_reals(self) -> bool:
        return bool(set(self.metrics) - {*WITHOUT_REALS, *OF_ANSWERS} or self.nearest)

    @property
    def need_features(self) -> bool:
        return bool(set(self.metrics) - set(OF_ANSWERS) or self.nearest)


def parse(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """'fid,kid' to ('fid', 'kid'). Raises UserError for an unknown metric."""
    asked = [name.strip() for name in (names.split(",") if isinstance(names, str) else names) if name.strip()]
    asked = [_ALIASES.get(name, name) for name in asked]
    for name in asked:
        if name not in METRICS:
            raise UsageError(f"there is no metric '{name}'; choose from {', '.join(METRICS)}")
    return tuple(dict.fromkeys(asked))


def evaluate(fakes: Images | Samples, reals: Images | None, extractor: Extractor, settings: Settings, ranks: Ranks,
             show: bool = True) -> dict[str, Any]:
    """Returns the result, as `scalegan evaluate` prints it, on every rank.

    Args:
        fakes: a generator's samples, or a set of images.
        reals: the real images to compare with; None if no metric needs them.
        show: draw progress bars on rank 0.

    Raises:
        UserError: if the sets do not match each other, or a metric does not apply to them.
    """
    numbers = chosen(len(fakes), settings.num_samples, "samples")
    if reals is not None:
        check_same_shape(fakes, reals)
    check(fakes, reals, extractor, settings)
    of_reals = real_features(reals, extractor, settings, ranks, show) if settings.need_reals else None
    if settings.need_features:
        with _bar("samples", len(numbers), ranks, show) as bar:
            of_fakes = collect(fakes, numbers, extractor, ranks, settings.batch_size, settings.keep, bar)
        result = ranks.on_main(lambda: _result(fakes, of_fakes, reals, of_reals, extractor, settings))
        numbers = np.setdiff1d(numbers, np.array(list(of_fakes.unreadable), np.int64))
    else:
        result = _empty(fakes, reals, len(numbers), extractor)
    if set(pairs.METRICS) & set(settings.metrics):
        with _bar("answers", len(numbers), ranks, show) as bar:
            of_answers, result["of_inputs"], result["of_targets"] = pairs.of_pairs(
                settings.metrics, fakes, numbers, settings.batch_size, ranks, bar)
        result["metrics"] |= of_answers
        result["constants"] |= {name: pairs.CONSTANTS[name] for name in of_answers if name in pairs.CONSTANTS}
        result["constants"] |= pairs.filters_of(fakes)
    if set(cycles.METRICS) & set(settings.metrics):
        with _bar("there and back", len(numbers), ranks, show) as bar:
            result["metrics"] |= cycles.of_cycles(fakes, numbers, settings.batch_size, ranks, bar)
        result["constants"] |= cycles.CONSTANTS
        result["inputs"] = {stream: images.name for stream, images in fakes.inputs.items()}
    if set(faces.METRICS) & set(settings.metrics):
        of_faces = faces.figures(settings.metrics, fakes.faces, settings.num_samples, settings.batch_size, ranks,
                                 lambda what, total: _bar(what, total, ranks, show))
        result["metrics"] |= of_faces.pop("metrics")
        result["constants"] |= of_faces.pop("constants")
        result |= of_faces
    if "ms_ssim" in settings.metrics:
        result["metrics"]["ms_ssim"] = _ms_ssim(fakes, numbers, settings, ranks)
        most = min(MS_SSIM_PAIRS, len(numbers) // 2)
        result["constants"]["ms_ssim"] = f"{ssim.scales_of(min(fakes.shape[1:]))} scales, {most:,} pairs at most"
    if "ppl" in settings.metrics:
        key = "ppl" if settings.perceptual else "pl"
        result["metrics"][key] = _path_length(fakes, numbers, extractor, settings, ranks)
        result["constants"]["ppl"] = f"w, endpoints, epsilon {path_length.EPSILON:g}"
    return result


def real_features(reals: Images, extractor: Extractor, settings: Settings, ranks: Ranks, show: bool) -> SetFeatures:
    """The real set's features, from the cache if possible; complete on rank 0 only."""
    numbers = chosen(len(reals), settings.num_reals, "reals")
    path = cache.path_of(reals.content, extractor, len(numbers)) if ranks.is_main else None
    found = cache.read(path, settings.keep)
    if ranks.broadcast(found is not None):
        return found or SetFeatures(Moments(0))
    with _bar("real images", len(numbers), ranks, show) as bar:
        found = collect(reals, numbers, extractor, ranks, settings.batch_size, settings.keep, bar)
    if ranks.is_main and not found.unreadable:
        cache.write(path, found)
    return found


def check(fakes: Images | Samples, reals: Images | None, extractor: Extractor, settings: Settings) -> None:
    """Raises UserError if a metric does not apply to the sets, or needs more images; nothing is computed for it."""
    asked = set(settings.metrics)
    pairs.check(asked, fakes, fakes.shape)
    cycles.check(asked, fakes)
    faces.check(asked, fakes)
    if reals is None and settings.need_reals:
        raise UsageError(f"{', '.join(sorted(asked - set(WITHOUT_REALS)) or ['--nearest'])} needs real images; "
                        "pass them with --data")
    if "ppl" in asked and not (isinstance(fakes, Samples) and fakes.style_based):
        raise UsageError(f"ppl is defined for style-based generators, which {fakes.name} is not; leave it out")
    if "ms_ssim" in asked and min(fakes.shape[1:]) < 11:
        raise UsageError(f"ms_ssim needs images of 11 px or more, not {fakes.shape[2]} x {fakes.shape[1]}; leave it "
                         "out")
    if "is" in asked and not extractor.classifies:
        raise UsageError(f"the inception score needs class scores, which {extractor.name} does not have; leave out "
                         "'is'")
    if "class_fid" in asked:
        for one in (fakes, reals):
            if one.classes_of(np.zeros(1, np.int64)) is None:
                why = f" ({one.unlabelled})" if getattr(one, "unlabelled", "") else ""
                raise UserError(f"class_fid needs classes, but {one.name} has none{why}; leave it out")
        labels.check_common(fakes, reals)
    _check_number("samples", len(chosen(len(fakes), settings.num_samples, "samples")), settings)
    if settings.need_reals:
        _check_number("real images", len(chosen(len(reals), settings.num_reals, "reals")), settings)


def _check_number(what: str, count: int, settings: Settings) -> None:
    """Raises UserError if there are fewer images than some metric is defined for."""
    asked = set(settings.metrics)
    least = max(2, manifold.PRC_NEIGHBOURS + 1 if "prc" in asked else 0, SPLITS if "is" in asked else 0,
                manifold.PRDC_NEIGHBOURS + 1 if "prdc" in asked else 0)
    if count < least:
        raise UserError(f"at least {least} {what} are needed for {', '.join(settings.metrics)}, but there are only "
                        f"{count}; use more, or other metrics")


def _result(fakes: Images | Samples, of_fakes: SetFeatures, reals: Images | None, of_reals: SetFeatures | None,
            extractor: Extractor, settings: Settings) -> dict[str, Any]:
    """The part of the result that comes from features; computed on rank 0."""
    asked = settings.metrics
    for what, one in (("samples", of_fakes), ("real images", of_reals)):    # of which some may be unreadable
        if one is not None:
            _check_number(f"readable {what}" if one.unreadable else what, one.moments.count, settings)
    place = extractor.device if has_float64(extractor.device) else torch.device("cpu")
    on_device = [one if one is None else _moved(one, place) for one in (of_fakes, of_reals)]
    subset = kernel.size_of_subsets(settings.kid_subset, of_fakes.vectors, of_reals.vectors) if "kid" in asked else 0
    found = figures.of_features(asked, *on_device, subset)
    result: dict[str, Any] = {
        "metrics": found, "extractor": extractor.identity, "resize": extractor.resize,
        "num_samples": of_fakes.moments.count,
        "warnings": figures.warnings_about(asked, of_fakes, of_reals, settings.kid_subset),
        "constants": figures.constants(asked, subset), "samples": fakes.name, "data": None}
    if of_reals is not None:
        result["data"] = {"path": reals.name, "content": reals.content, "num_images": of_reals.moments.count}
    if "class_fid" in asked:
        result["by_class"], remarks = _by_class(fakes, of_fakes, reals, of_reals)
        result["warnings"] += remarks
        found["class_fid"] = float(np.mean(list(result["by_class"].values())))
    if settings.bootstrap:
        result["standard_errors"] = figures.standard_errors(asked, *on_device, subset, settings.bootstrap)
    if not extractor.official:      # a Fréchet distance of other features is not FID
        for key in {"metrics", "standard_errors"} & result.keys():
            result[key] = {name.replace("fid", "fd"): value for name, value in result[key].items()}
    for what, one in (("samples", of_fakes), ("data", of_reals)):
        if one is not None and one.unreadable:
            count, files = len(one.unreadable), list(one.unreadable.values())[:_MAX_LISTED]
            result.setdefault("unreadable", {})[what] = {"count": count, "files": files}
            result["warnings"].append(f"{count} unreadable image{'s' if count > 1 else ''} of the {what} left out")
    if settings.nearest:
        neighbours.save_picture(settings.nearest, fakes, of_fakes, reals, of_reals)
        result["nearest"] = str(settings.nearest)
    return result


def _empty(fakes: Images | Samples, reals: Images | None, count: int, extractor: Extractor) -> dict[str, Any]:
    """A result to which figures are added that no features determine."""
    return {"metrics": {}, "extractor": extractor.identity, "resize": extractor.resize, "num_samples": count,
            "warnings": [], "constants": {}, "samples": fakes.name,
            "data": reals and {"path": reals.name, "content": reals.content, "num_images": min(count, len(reals))}}


def _moved(one: SetFeatures, device: torch.device) -> SetFeatures:
    return SetFeatures(one.moments, None if one.vectors is None else one.vectors.to(device),
                       None if one.logits is None else one.logits.to(device))


def _by_class(fakes: Images | Samples, of_fakes: SetFeatures, reals: Images,
              of_reals: SetFeatures) -> tuple[dict[str, float], list[str]]:
    """The distance of each class by its name, and which classes are left out."""
    own, of_data = fakes.classes_of(of_fakes.numbers), reals.classes_of(of_reals.numbers)
    matched = labels.renumbered(own, fakes.classes, reals.classes)
    found = figures.by_class(of_fakes, matched, of_reals, of_data)
    if not found:
        raise UserError(f"no class has two images in both {fakes.name} and {reals.name}; leave out class_fid")
    values = {labels.name_of(number, reals.classes): value for number, value in found.items()}
    seen = [labels.name_of(number, reals.classes) for number in np.unique(of_data)]
    seen += [labels.name_of(number, fakes.classes) for number in np.unique(own)]
    left_out = [name for name in dict.fromkeys(seen) if name not in values]
    return values, [f"class_fid leaves out {shortened(left_out)}: fewer than two images among the samples or the data"
                    ] if left_out else []


def _ms_ssim(source: Images | Samples, numbers: np.ndarray, settings: Settings, ranks: Ranks) -> float:
    """MS-SSIM of random pairs, each within one class if there are classes."""
    generator = np.random.Generator(np.random.Philox(key=key_of("evaluate", "ms_ssim")))
    shuffled = generator.permutation(numbers)[: 2 * MS_SSIM_PAIRS]
    classes = source.classes_of(shuffled)
    if classes is not None:
        order = np.argsort(classes, kind="stable")
        shuffled, classes = shuffled[order], classes[order]
    couples = shuffled[: len(shuffled) // 2 * 2].reshape(-1, 2)
    if classes is not None:
        alike = classes[: couples.size].reshape(-1, 2)
        couples = couples[alike[:, 0] == alike[:, 1]]

    def of_pairs(rows: np.ndarray) -> Tensor:
        return ssim.ms_ssim(*(_images(source, couples[rows, side]).float() for side in (0, 1)))

    return float(spread(len(couples), of_pairs, settings.batch_size, ranks).mean())


def _path_length(samples: Samples, numbers: np.ndarray, extractor: Extractor, settings: Settings,
                 ranks: Ranks) -> float:
    embed = settings.perceptual or extractor.embed
    distances = spread(len(numbers), lambda rows: path_length.squared_distances(samples, numbers[rows], embed),
                       settings.batch_size, ranks)
    return path_length.mean_length(distances)


def spread(count: int, work: Callable[[np.ndarray], Tensor], batch_size: int, ranks: Ranks) -> Tensor:
    """Runs `work` on 0 ... count - 1 in batches spread over the ranks; its values [count], float64, on every rank."""
    values = torch.zeros(count, dtype=torch.float64)

    def share() -> None:
        for start in range(ranks.rank * batch_size, count, ranks.world_size * batch_size):
            rows = np.arange(start, min(start + batch_size, count))
            values[start : start + batch_size] = work(rows).cpu().double()
    ranks.run_collectively(share)
    return torch.stack(ranks.all_gather(values)).sum(0)


def _images(source: Images | Samples, numbers: np.ndarray) -> Tensor:
    """uint8 [n, C, H, W]."""
    if isinstance(source, Samples):
        return source.draw(numbers)
    return torch.from_numpy(np.stack([source.read(int(number)) for number in numbers])).permute(0, 3, 1, 2)


class _bar:
    """A progress bar on rank 0, as a function that advances it; a no-op elsewhere."""

    def __init__(self, what: str, total: int, ranks: Ranks, show: bool) -> None:
        self.bar = Bar(what, total) if ranks.is_main and show else None

    def __enter__(self) -> Callable[[int], None]:
        return self.bar.__enter__().advance if self.bar else lambda count: None

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.__exit__(*error)
