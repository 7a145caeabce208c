"""Prepares trained generators for evaluation."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.errors import UsageError, UserError
from scalegan.games.base import Preview
from scalegan.games.sampling import is_styled
from scalegan.metrics.images import Images
from scalegan.metrics.labels import matched_labels, relabelled
from scalegan.metrics.samples import Samples
from scalegan.metrics.standing_statistics import standing_statistics
from scalegan.models.layers.batchnorm import GroupedBatchNorm


def with_standing_statistics(generator: nn.Module, batches: int, psi: float = 1.0) -> tuple[nn.Module, list[str]]:
    """A copy whose BatchNorm has the statistics of its current weights, or the generator itself if it has no BatchNorm;
    and remarks about it."""
    if not any(isinstance(module, GroupedBatchNorm) for module in generator.modules()):
        return generator, []
    if generator.about["export"]["inputs"][0] != "z":
        return generator, ["BatchNorm's running statistics are those of training: standing statistics need latents"]
    if generator.about["spec"]["attributes"]:
        return generator, ["BatchNorm's running statistics are those of training: standing statistics need classes"]
    generator = copy.deepcopy(generator)
    standing_statistics(generator, batches, psi=psi)
    return generator, []


def samples_of(generator: nn.Module, count: int, reals: Images | None, psi: float = 1.0, name: str = "the generator",
               fakes: Callable[[Preview], Tensor] | None = None,
               inputs: Mapping[str, Images] | None = None) -> tuple[Samples, list[str]]:
    """The generator's samples, with the data's labels, and remarks about them.

    Args:
        generator: with its description in `about`.
        fakes: the game's sampling function, if samples do not come from the generator alone.
        inputs: the input images by stream, if the game translates images.

    Raises:
        UserError: if it does not make images, or its labels do not match the data's.
    """
    spec, output = Spec.of(generator.about["spec"]), generator.about["export"]["output"]
    if output not in ("image", "points"):
        raise UserError(f"network '{generator.about['network']}' of {name} outputs {output}; only images can be "
                        "evaluated")
    if spec.kind == "points":
        raise UserError(f"{name} makes 2-D points; only images can be evaluated")
    if psi != 1 and not (is_styled(generator) or generator.about["model"]["name"] == "biggan"):
        raise UsageError(f"--psi {psi}: {generator.about['model']['name']} has no truncation; leave it out")
    classes, remarks = spec.num_classes, []
    labels, names = None, spec.label_names
    if reals is not None and reals.labels is not None:
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
    return Samples(generator, count, spec.shape, labels, classes, psi, name, fakes, inputs, stream, names), remarks
