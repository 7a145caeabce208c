"""Prepares trained generators for evaluation."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from scalegan.averages.label_summary import vectors_of
from scalegan.averages.standing_statistics import has_norms
from scalegan.data.spec import Spec
from scalegan.data.vectors import VectorTable
from scalegan.errors import UsageError, UserError
from scalegan.games.base import Preview
from scalegan.games.sampling import truncates
from scalegan.metrics.features import chosen
from scalegan.metrics.images import Images
from scalegan.metrics.labels import matched_labels, relabelled
from scalegan.metrics.samples import Samples

_OTHERS = {"points": "2-D points", "volume": "volumes"}     # that are not images


def remarks_on_statistics(generator: nn.Module) -> list[str]:
    """Says so if a loaded generator has BatchNorm, but no standing statistics."""
    if not has_norms([generator]) or generator.about.get("standing_statistics"):
        return []
    return ["BatchNorm has its stored running statistics, not standing ones"]


def check_images(generator: nn.Module, name: str) -> None:
    """Raises UserError if a loaded network does not make images."""
    output, kind = generator.about["export"]["output"], generator.about["spec"]["kind"]
    if kind in _OTHERS:
        raise UserError(f"{name} makes {_OTHERS[kind]}; only images can be evaluated")
    if output != "image":
        raise UserError(f"network '{generator.about['network']}' of {name} outputs {output}; only images can be "
                        "evaluated")


def _vectors(generator: nn.Module, spec: Spec, reals: Images | None, name: str) -> Tensor | VectorTable:
    """Those that describe the images to compare with, if they have any; else those that the generator records."""
    found = None if reals is None else reals.vectors
    if found is None:
        return vectors_of(generator.about["labels"], spec)
    known = (generator.about.get("labels") or {}).get("encoder", found.encoder)
    if found.vectors.shape[1] != spec.vector_dim or (known and known != found.encoder):
        raise UserError(f"{reals.name} has conditions as other vectors ({found.vectors.shape[1]:,} numbers) than "
                        f"{name} has learnt from ({spec.vector_dim:,}); prepare it with the encoder of the run's data, "
                        "or in one call with it (--validation)")
    return found


def samples_of(generator: nn.Module, count: int, reals: Images | None, psi: float = 1.0, name: str = "the generator",
               fakes: Callable[[Preview], Tensor] | None = None,
               inputs: Mapping[str, Images] | None = None) -> tuple[Samples, list[str]]:
    """The generator's samples, with the data's labels, and remarks about them.

    Args:
        generator: with its description in `about`.
        fakes: the game's sampling function, if samples do not come from the generator alone.
        inputs: the input images by stream, if the game translates images; there are as many samples as of these at
            most, since an input has one answer. Of more, some are drawn, as sets are often sorted by class.

    Raises:
        UserError: if it does not make images, or its labels do not match the data's.
    """
    if inputs:
        count = min(count, *map(len, inputs.values()))
    check_images(generator, name)
    spec = Spec.of(generator.about["spec"])
    if psi != 1 and not truncates(generator):
        raise UsageError(f"--psi {psi}: {generator.about['model']['name']} has no truncation; leave it out")
    classes, remarks = spec.num_classes, []
    labels, names = None, spec.label_names
    if spec.vector_dim:
        classes, labels = spec.vector_dim, _vectors(generator, spec, reals, name)
    elif reals is not None and reals.labels is not None:
        table, remarks = matched_labels(spec, reals, name)
        labels, names = torch.from_numpy(table), names or (reals.classes if classes else ())
    elif classes and spec.multilabel:
        raise UserError(f"{name} is conditioned on attributes, but {reals.name if reals else 'the data'} has "
                        "none; name labelled data with --data")
    elif classes:
        remarks.append("samples have uniform classes: the data has no labels")
    stream = generator.about["target"] or next(iter(generator.about["specs"]))
    inputs = {key: relabelled(images, Spec.of(generator.about["specs"][key]), name)
              for key, images in (inputs or {}).items()}
    places = {key: chosen(len(images), count, "inputs") for key, images in inputs.items()}      # alike for pairs
    return Samples(generator, count, spec.shape, labels, classes, psi, name, fakes, inputs, stream, names,
                   places=places), remarks
