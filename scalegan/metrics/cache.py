"""A disk cache of real sets' features, keyed by content, extractor, resize and count."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scalegan.metrics.extractors.base import Extractor
from scalegan.metrics.features import SetFeatures
from scalegan.metrics.gaussian import Moments
from scalegan.support.files import own_name, replacing
from scalegan.support.keys import key_of
from scalegan.support.paths import cache_root

_LAYOUT = 1


def path_of(content: str, extractor: Extractor, count: int) -> Path:
    """Path of the cached features, in the cache's folder `features`."""
    key = key_of("features", _LAYOUT, content, extractor.name, extractor.sha256, extractor.resize, count)
    return cache_root() / "features" / f"{extractor.name}-{key:016x}.safetensors"


def read(path: Path, with_vectors: bool) -> SetFeatures | None:
    """The cached features; None if they are missing, damaged, or lack vectors that are needed."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    if with_vectors and "vectors" not in tensors:
        return None
    moments = Moments.unpacked(tensors["moments"], int(tensors["dim"]))
    if not with_vectors:
        return SetFeatures(moments)
    return SetFeatures(moments, tensors["vectors"], tensors.get("logits"), tensors["numbers"].numpy())


def write(path: Path, features: SetFeatures) -> None:
    """Writes to a temporary file and renames it, so that a half-written file is never read."""
    tensors = {"moments": features.moments.packed(), "dim": torch.tensor(features.moments.dim),
               "vectors": features.vectors, "logits": features.logits, "numbers": torch.from_numpy(features.numbers)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, own_name(path)) as unfinished:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, unfinished)
