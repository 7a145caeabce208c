"""Evaluation speed against the extractor's bare forward passes, and against torch-fidelity on the same files."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scalegan.engines.ranks import Ranks
from scalegan.metrics import extractors
from scalegan.metrics.features import collect
from scalegan.metrics.images import open_images
from tools.benchmarks.harness import Result, alternate, faster, seconds

_IMAGES = 64
_BATCH = 16
_SIZE = 64
_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fid_vs_forward() -> Result:
    """Moments of features from PNG files (read, decoded, resized, summed) against bare forward passes."""
    with tempfile.TemporaryDirectory() as scratch:
        images = open_images(str(_pictures(Path(scratch) / "images")))
        extractor = extractors.load("inception", _weights(Path(scratch)), None, _DEVICE)
        prepared = torch.rand(_BATCH, 3, 299, 299, device=_DEVICE).contiguous(memory_format=torch.channels_last) * 255

        @torch.inference_mode()
        def bare() -> float:
            return _IMAGES / seconds(lambda: [extractor.net(prepared) for _ in range(_IMAGES // _BATCH)])

        value, reference = alternate(partial(_ours, images, extractor), bare)
    return faster("fid_vs_forward", "images/s", value, "bare forward passes", reference)


def fid_vs_torch_fidelity() -> Result:
    """The same against torch-fidelity's extraction from the same files, with the same weights, batch and threads."""
    from torch_fidelity.datasets import ImagesPathDataset, TransformPILtoRGBTensor
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.utils import get_featuresdict_from_dataset, glob_samples_paths

    with tempfile.TemporaryDirectory() as scratch:
        folder = _pictures(Path(scratch) / "images")
        weights = _weights(Path(scratch))
        images, extractor = open_images(str(folder)), extractors.load("inception", weights, None, _DEVICE)
        reference = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
        reference = reference.to(_DEVICE)
        files = ImagesPathDataset(glob_samples_paths(str(folder), False, "png", verbose=False),
                                  TransformPILtoRGBTensor())

        def theirs() -> float:
            return _IMAGES / seconds(lambda: get_featuresdict_from_dataset(
                files, reference, _BATCH, _DEVICE.type == "cuda", False, False))

        value, reference_value = alternate(partial(_ours, images, extractor), theirs)
    return faster("fid_vs_torch_fidelity", "images/s", value, "torch-fidelity", reference_value)


BENCHMARKS: dict[str, Callable[[], Result]] = {
    "fid_vs_forward": fid_vs_forward, "fid_vs_torch_fidelity": fid_vs_torch_fidelity}


def _ours(images, extractor) -> float:
    numbers, ranks = np.arange(_IMAGES), Ranks(0, 1, _DEVICE)
    return _IMAGES / seconds(lambda: collect(images, numbers, extractor, ranks, _BATCH, keep=False))


def _pictures(folder: Path) -> Path:
    folder.mkdir()
    generator = np.random.Generator(np.random.Philox(0))
    for number in range(_IMAGES):
        pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png")
    return folder


def _weights(scratch: Path) -> Path:
    """The official weights if they can be found, else random ones, which take as long."""
    found = extractors.inception.find_weights(None)
    if found is not None:
        return found
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, state: dict, **options: object) -> None:
            """Keeps the initial weights."""

    path = scratch / "inception.pth"
    torch.save({}, path)
    torch.save(Untrained("inception", ["2048"], feature_extractor_weights_path=str(path)).state_dict(), path)
    return path
