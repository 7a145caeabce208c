"""Evaluates samples against real images: `scalegan evaluate RUN_OR_EXPORT_OR_FOLDER --data PATH --metrics fid,kid`.

The first argument is a run, a checkpoint or an export, or a folder, zip or shard set of images to use as samples.
Prints one JSON object. Several ranks (`torchrun --nproc_per_node 4 scalegan/evaluate.py ...`) give the same figures.
Nothing is downloaded: without Inception's weights, features come from EfficientNet-Lite0, and the Fréchet distance is
called `fd`, since it is not an FID.

metrics: fid; kid; is (inception score); prc (precision and recall, k = 3); prdc (precision, recall, density and
coverage, k = 5); ms_ssim (diversity); ppl (perceptual path length); class_fid (mean of the FIDs per class); and of
networks from image to image, beside the images that their answers should be: psnr; ssim; ab_l1, colourfulness and
ab_histogram (of colours in CIE-LAB); high_frequency (how sharp they are); and of networks that translate between two
domains: cycle_l1, what is lost on the way there and back; and of networks for faces: identity, whether people stay the
same, and attribute_hamming, the share of attributes that are not recognised.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.commands import guidance
from scalegan.errors import UsageError
from scalegan.support.arguments import file_named, finite, positive, report, verb_parser, whole
from scalegan.support.resolution import Resolution, of_sides

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scalegan.metrics.evaluation import Settings
    from scalegan.metrics.images import Images

_OF_GENERATORS = {"psi": 1.0, "guidance": 1.0, "ema": None, "standing_statistics": None}    # if not given
_SUBSET = 1000                  # of KID
_USUAL_SAMPLES = 50_000         # of published figures
_SAMPLES_WITHOUT_GPU, _REALS_WITHOUT_GPU = 5_000, 10_000    # minutes on a few CPU cores, at some 40 images/s each


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    import warnings

    from scalegan.checkpoints.hub import located
    from scalegan.checkpoints.listing import run_of
    from scalegan.engines.ranks import ending, join, leave
    from scalegan.metrics import evaluation, results

    metrics = evaluation.parse(options.metrics)
    _check_used(options, metrics)
    options.source = str(located(options.source))       # of a folder that `scalegan push` wrote, the export in it
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
    ranks = join()

    def work() -> int:
        result = _evaluate(options, metrics, ranks)
        if ranks.is_main:
            print(json.dumps(result, indent=1, ensure_ascii=False), flush=True)
            run = run_of(Path(options.source))
            if run:
                results.append(run, result)
        leave()
        unread = result.get("unreadable", {}) if ranks.is_main else {}
        problems = [f"{what}: {file}" for what, one in unread.items() for file in one["files"]]
        problems += [f"{what}: {more} more images cannot be read" for what, one in unread.items()
                     if (more := one["count"] - len(one["files"])) > 0]
        return report(problems)

    return ending(work)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("evaluate", __doc__,
                         "evaluate runs/digits --metrics fid,kid",
                         "evaluate generated/ --data photos.zip --metrics kid,prdc --num-samples 5000")
    parser.add_argument("source", metavar="RUN_OR_EXPORT_OR_FOLDER", help="what to evaluate")
    parser.add_argument("--data", metavar="PATH", help="real images: shards, a folder or a zip (default: the run's)")
    parser.add_argument("--metrics", default="fid,kid", help="comma-separated; see above (default fid,kid)")
    parser.add_argument("--extractor", metavar="NAME", help="inception, efflite0, or a TorchScript file, which is a "
                        "program and will be run (default: inception if its weights are given, else efflite0)")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="the extractor's weights (default for inception: $SCALEGAN_WEIGHTS)")
    parser.add_argument("--resize", choices=("tf1-bilinear", "clean"), help="how images are resized for the extractor "
                        "(default: tf1-bilinear for inception, as published; clean for efflite0)")
    parser.add_argument("--num-samples", type=positive, metavar="N",
                        help="samples to generate (default 50000), or images of a folder to use (default all); "
                        f"without a GPU, by default {_SAMPLES_WITHOUT_GPU} at most")
    parser.add_argument("--num-reals", type=positive, metavar="N", help="real images to use (default all; without a "
                        f"GPU, {_REALS_WITHOUT_GPU} at most)")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="images per batch (default 32)")
    parser.add_argument("--psi", type=finite, default=1.0, help="truncation, if the model supports it (default 1)")
    guidance.add_argument(parser)
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    parser.add_argument("--standing-statistics", type=whole(), metavar="N", help="compute BatchNorm's statistics over "
                        "N batches of 64 (default 16 for a run, an export's own for an export); 0 keeps those stored")
    parser.add_argument("--kid-subset-size", type=whole(2), default=_SUBSET, metavar="N",
                        help="images in each of KID's 100 subsets (default 1000, or all of the smaller set)")
    parser.add_argument("--bootstrap", type=whole(2), default=0, metavar="N",
                        help="error bars from N resamples, two or more")
    parser.add_argument("--nearest", type=file_named("--nearest", ".png"), metavar="FILE.png",
                        help="write a picture of samples next to their nearest real images")
    parser.add_argument("--lpips", type=Path, metavar="FILE.pt", help="TorchScript LPIPS network for ppl, such as "
                        "NVIDIA's vgg16.pt (default: the extractor's features; the metric is then called pl)")
    return parser


def _check_used(options: argparse.Namespace, metrics: tuple[str, ...]) -> None:
    """Raises UsageError for an option that none of the metrics heeds."""
    from scalegan.metrics.figures import OF_FEATURES

    of_metrics = {"kid_subset_size": (_SUBSET, ("kid",)), "lpips": (None, ("ppl",)), "bootstrap": (0, OF_FEATURES)}
    for option, (default, heeding) in of_metrics.items():
        if getattr(options, option) != default and not set(heeding) & set(metrics):
            raise UsageError(f"--{option.replace('_', '-')} is for {', '.join(heeding)}, and --metrics "
                             f"{','.join(metrics)} asks for {'none of these' if len(heeding) > 1 else 'others'}; leave "
                             "it out")


def _evaluate(options: argparse.Namespace, metrics: tuple[str, ...], ranks) -> dict:
    from scalegan.metrics import evaluation, extractors

    warnings: list[str] = []
    source, data = Path(options.source), options.data
    trained = source.suffix == ".safetensors" or (source / "COMPLETE").is_file() or (source / "checkpoints").is_dir()
    for name, default in _OF_GENERATORS.items():
        if not trained and getattr(options, name) != default:
            raise UsageError(f"{source} is a set of images, used as they are; leave out --{name.replace('_', '-')}")
    extractor = ranks.run_collectively(lambda: extractors.load(options.extractor, options.weights, options.resize,
                                                       ranks.device))
    without_gpu = ranks.device.type == "cpu"
    if trained:
        usual = _SAMPLES_WITHOUT_GPU if without_gpu else _USUAL_SAMPLES
        fakes, reals = _samples(options, metrics, options.num_samples or usual, ranks, warnings)
    else:
        fakes, reals = _images(options.source, 28, ranks), _images(data, 28, ranks) if data else None
    settings = evaluation.Settings(metrics, options.num_samples, options.num_reals, options.batch_size,
                                   options.kid_subset_size, options.bootstrap, options.nearest,
                                   _perceptual(options.lpips, ranks))
    if without_gpu:
        settings, line = _limited(settings, _USUAL_SAMPLES if trained else len(fakes),
                                  len(reals) if reals is not None and settings.need_reals else 0)
        if line and ranks.is_main:
            print(line, file=sys.stderr, flush=True)
    result = evaluation.evaluate(fakes, reals, extractor, settings, ranks)
    sets = [one for one in (fakes, reals) if one is not None]
    result["warnings"] += warnings + [f"{one.name}: {remark}" for one in sets for remark in one.remarks]
    if trained:
        result |= {"images": fakes.generator.about["images"], "psi": options.psi, "guidance": options.guidance,
                   "ema": options.ema, "standing_statistics": options.standing_statistics}
    return result


def _limited(settings: "Settings", samples: int, reals: int) -> tuple["Settings", str]:
    """The settings without a GPU: where the user does not say how many images to take, few; and a line that says so.

    Args:
        samples, reals: how many there would be otherwise.
    """
    taken, options = [], []
    if settings.num_samples is None and samples > _SAMPLES_WITHOUT_GPU:
        taken.append(f"{_SAMPLES_WITHOUT_GPU:,} of {samples:,} samples")
        options.append(f"--num-samples {samples}")
    if settings.num_reals is None and reals > _REALS_WITHOUT_GPU:
        taken.append(f"{_REALS_WITHOUT_GPU:,} of {reals:,} real images")
        options.append(f"--num-reals {reals}")
    line = f"there is no GPU: {' and '.join(taken)} are used, so that it takes minutes; for a figure as published, " \
           f"pass {' '.join(options)}" if taken else ""
    return replace(settings, num_samples=settings.num_samples or _SAMPLES_WITHOUT_GPU,
                   num_reals=settings.num_reals or _REALS_WITHOUT_GPU), line


def _samples(options: argparse.Namespace, metrics: tuple[str, ...], count: int, ranks, warnings: list[str]):
    """`count` samples of the generator, and the real images, whose labels condition it."""
    from scalegan.checkpoints import exports, game_methods
    from scalegan.metrics import evaluation, faces
    from scalegan.metrics.generators import check_images, remarks_on_statistics, samples_of

    generator = ranks.run_collectively(lambda: exports.load(
        options.source, ema=options.ema, psi=options.psi, standing_batches=options.standing_statistics))
    check_images(generator, options.source)
    ranks.run_collectively(lambda: guidance.apply(options.guidance, generator, options.source))
    generator.to(ranks.device)
    size = of_sides(*generator.about["spec"]["shape"][-2:])
    target = generator.about["target"]
    reals = _images(options.data, size, ranks) if options.data else _own_images(options.source, ranks, target)
    inputs, export = {}, generator.about["export"]
    if export["inputs"][0] != "z" and export["output"] == "image":
        single = reals is not None and len(generator.about["specs"]) == 1
        if options.data and not single and set(metrics) & set(evaluation.OF_ANSWERS):
            raise UsageError(f"--data is one set, but {options.source} has the streams "
                             f"{', '.join(generator.about['specs'])}; leave it out, to use those of its recipe's eval, "
                             "or its own")
        inputs = {target or next(iter(generator.about["specs"])): reals} if single else _inputs(options.source, ranks)
    samples, remarks = ranks.run_collectively(lambda: samples_of(
        generator, count, reals, options.psi, options.source, inputs=inputs))
    warnings += remarks + (remarks_on_statistics(generator) if options.standing_statistics != 0 else [])
    samples.fakes = ranks.run_collectively(
        lambda: game_methods.fakes_of(options.source, options.ema, samples.generator))
    if "cycle_l1" in metrics:
        samples.cycles = ranks.run_collectively(
            lambda: game_methods.cycles_of(options.source, options.ema, samples.generator))
    if set(metrics) & set(faces.METRICS):
        photos = inputs or ({} if reals is None else {samples.stream: reals})
        samples.faces = ranks.run_collectively(lambda: _faces(options, photos, ranks))
    return samples, reals


def _faces(options: argparse.Namespace, photos: "Mapping[str, Images]", ranks):
    """What the networks of a run or an export make of photos of faces."""
    from scalegan.checkpoints import exports
    from scalegan.metrics.face_networks import of_game

    networks = exports.load_all(options.source, options.ema, standing_batches=0)    # they see photos, and no z
    return of_game({name: network.to(ranks.device) for name, network in networks.items()}, photos, options.source)


def _own_recipe(source: str, ranks):
    """The recipe of a run or checkpoint, after making its evaluation sets; None for an export."""
    from scalegan.checkpoints import exports, store
    from scalegan.config.game import streams_of
    from scalegan.config.loading import parse, plain
    from scalegan.errors import UserError
    from scalegan.training.build import evaluation_path, make_evaluation_sets

    if Path(source).is_file():
        return None
    tree = ranks.broadcast(store.metadata_of(exports.newest(Path(source)))["recipe"] if ranks.is_main else None)
    recipe = parse(plain(tree), source)
    for stream in streams_of(recipe):
        path = evaluation_path(recipe, stream)
        if "$" in path or path.startswith("~"):
            raise UserError(f"{source} was trained or evaluated on {path}, and nothing in a checkpoint is expanded, as "
                            "it may be someone else's; name the images by --data")
    make_evaluation_sets(recipe, ranks)
    return recipe


def _own_images(source: str, ranks, stream: str = ""):
    """A stream's held-out data, or else its training data, as the run saw it; None for an export."""
    from scalegan.training.build import evaluation_images

    recipe = _own_recipe(source, ranks)
    return recipe and ranks.run_collectively(lambda: evaluation_images(recipe, stream))


def _inputs(source: str, ranks):
    """Images of every stream, for a run whose game generates samples from images."""
    from scalegan.errors import UserError
    from scalegan.training.build import inputs_of

    recipe = _own_recipe(source, ranks)
    if recipe is None:
        raise UserError(f"{source} translates images, but an export does not say which; give its run, or a "
                        "folder of its answers")
    return ranks.run_collectively(lambda: inputs_of(recipe))


def _images(path: str, size: Resolution, ranks):
    """Opens a set of images by path; an embedded set is made at that size."""
    from scalegan.config import Data
    from scalegan.data.preparing.embedded import folder_of, is_embedded, make_embedded
    from scalegan.metrics.images import open_images

    if is_embedded(path):
        ranks.run_collectively(lambda: make_embedded(Data(path=path, resolution=size), ranks))
        path = str(folder_of(path, size))
    return ranks.run_collectively(lambda: open_images(path))


def _perceptual(path: Path | None, ranks):
    """Loads a TorchScript network that maps images to vectors whose squared distance is LPIPS."""
    if path is None:
        return None
    from scalegan.metrics.extractors.torchscript import load_perceptual

    return ranks.run_collectively(lambda: load_perceptual(path, ranks.device))
