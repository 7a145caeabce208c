"""R3GAN from the weights of brownvc/R3GAN."""

import re

import torch
from torch import Tensor

from scalegan.interop.reference import Reference, State, renamed
from scalegan.models import r3gan

_NAMES = (
    (r"\.expand\.weight$", ".LinearLayer1.Layer.weight"),
    (r"\.mix\.weight$", ".LinearLayer2.Layer.weight"),
    (r"\.contract\.weight$", ".LinearLayer3.Layer.weight"),
    (r"\.expand\.bias$", ".NonLinearity1.Bias"),
    (r"\.mix\.bias$", ".NonLinearity2.Bias"),
    (r"^to_rgb\.", "AggregationLayer.Layer."),
    (r"^from_rgb\.", "ExtractionLayer.Layer."),
)


def r3gan_generator(state_dict: State) -> r3gan.Generator:
    """From the `Generator` of brownvc/R3GAN (R3GAN/Networks.py), alone or wrapped by training/networks.py."""
    reference = _reference(state_dict, "brownvc/R3GAN's Generator")
    stages = reference.count(r"MainLayers\.(\d+)\.Layers\.1\.LinearLayer1\.Layer\.weight")
    shapes = [_stage(reference, i, 1) for i in range(stages)]
    inputs = reference.shape("MainLayers.0.Layers.0.LinearLayer.weight", 2)[1]
    num_classes, embedding_dim = 0, 0
    if "EmbeddingLayer.weight" in reference:
        embedding_dim, num_classes = reference.shape("EmbeddingLayer.weight", 2)
    rules = (*_NAMES,
             (r"^linear$", "MainLayers.0.Layers.0.LinearLayer.weight"),
             (r"^basis$", "MainLayers.0.Layers.0.Basis"),
             (r"^transitions\.(\d+)\.", r"MainLayers.\1.Layers.0.LinearLayer.Layer."))

    def tensor_for(name: str) -> Tensor:
        if name == "embedding":
            return reference.take("EmbeddingLayer.weight").T
        name = re.sub(r"^stages\.(\d+)\.(\d+)", lambda m: f"MainLayers.{m[1]}.Layers.{int(m[2]) + 1}", name)
        return reference.take(renamed(name, rules))

    return reference.fill(lambda: r3gan.Generator(
        latent_dim=inputs - embedding_dim, num_classes=num_classes, embedding_dim=embedding_dim,
        channels=reference.shape("AggregationLayer.Layer.weight", 4)[0], **_layout(shapes)), tensor_for)


def r3gan_discriminator(state_dict: State) -> r3gan.Discriminator:
    """From the `Discriminator` of brownvc/R3GAN (R3GAN/Networks.py), alone or wrapped by training/networks.py."""
    reference = _reference(state_dict, "brownvc/R3GAN's Discriminator")
    stages = reference.count(r"MainLayers\.(\d+)\.Layers\.0\.LinearLayer1\.Layer\.weight")
    shapes = [_stage(reference, i, 0) for i in range(stages)]
    ends = [f"MainLayers.{i}.Layers.{shape['blocks']}" for i, shape in enumerate(shapes)]
    num_classes, embedding_dim = 0, None
    if "EmbeddingLayer.weight" in reference:
        embedding_dim, num_classes = reference.shape("EmbeddingLayer.weight", 2)
    rules = (*_NAMES, (r"^stages\.(\d+)\.(\d+)", r"MainLayers.\1.Layers.\2"))

    def tensor_for(name: str) -> Tensor:
        if name == "embedding":
            return reference.take("EmbeddingLayer.weight").T
        if name == "linear":
            return reference.take(f"{ends[-1]}.LinearLayer.weight")
        if name == "basis":
            return reference.take(f"{ends[-1]}.Basis.weight").flatten(0, 1)
        name = re.sub(r"^transitions\.(\d+)", lambda m: f"{ends[int(m[1])]}.LinearLayer.Layer", name)
        return reference.take(renamed(name, rules))

    return reference.fill(lambda: r3gan.Discriminator(
        num_classes=num_classes, embedding_dim=embedding_dim,
        channels=reference.shape("ExtractionLayer.Layer.weight", 4)[1], **_layout(shapes[::-1])), tensor_for)


def _reference(state_dict: State, what: str) -> Reference:
    reference = Reference(state_dict, what, wrappers=("module.", "Model."), ignored=r"\.Resampler\.Kernel$")
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float32, device="cpu") / 8
    for name, value in reference.tensors.items():
        if name.endswith(".Resampler.Kernel") and not value.is_meta:
            value = value.detach().cpu().float()
            if value.shape != (4, 4) or not torch.allclose(value, torch.outer(taps, taps)):
                raise ValueError(f"{what}: {name!r} is not the resampling filter [1, 2, 1], the only one supported")
    return reference


def _stage(reference: Reference, stage: int, first: int) -> dict[str, int]:
    """Shape of a stage, whose residual blocks start at index `first`."""
    prefix = f"MainLayers.{stage}.Layers"
    blocks = reference.indices(rf"{re.escape(prefix)}\.(\d+)\.LinearLayer1\.Layer\.weight")
    inner, channels = reference.shape(f"{prefix}.{first}.LinearLayer1.Layer.weight", 4)[:2]
    _, per_group, kernel, _ = reference.shape(f"{prefix}.{first}.LinearLayer2.Layer.weight", 4)
    return dict(blocks=len(blocks), width=channels, cardinality=inner // max(per_group, 1),
                expansion=inner // max(channels, 1), kernel=kernel)


def _layout(stages: list[dict[str, int]]) -> dict[str, object]:
    """Arguments of our networks for these stages, from 4 px up."""
    return dict(resolution=4 << (len(stages) - 1), widths=[s["width"] for s in stages],
                cardinalities=[s["cardinality"] for s in stages], blocks=[s["blocks"] for s in stages],
                expansion=stages[0]["expansion"], kernel=stages[0]["kernel"])
