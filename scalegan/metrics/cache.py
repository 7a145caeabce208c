"""A disk cache of real sets' features, keyed by content, extractor, resize and count."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scalegan.metrics.extractors.base import Extractor
from scalegan.metrics.features import SetFeatures
from scalegan.metrics.gaussian import Moments
from scalegan.support.caching import cache_folder, go_without, is_own_file
from scalegan.support.files import own_name, replacing
from scalegan.support.keys import key_of

_LAYOUT = 1
_WHAT = "features of real images"


def path_of(content: str, extractor: Extractor, count: int) -> Path | None:
    """Path of the cached features, in the cache's folder `features`; None, after a warning, if that cannot be used."""
    key = key_of("features", _LAYOUT, content, extractor.name, extractor.sha256, extractor.resize, count)
    try:
        return cache_folder("features") / f"{extractor.name}-{key:016x}.safetensors"
    except OSError as error:
        go_without(_WHAT, error)
        return None


def read(path: Path | None, with_vectors: bool) -> SetFeatures | None:
    """The cached features; None if they are missing, damaged, another user's, or lack vectors that are needed."""
    if path is None or not is_own_file(path):
        return None
    try:
        tensors = load_file(path)
        if with_vectors and "vectors" not in tensors:
            return None
        dim = int(tensors["dim"])
        if tensors["moments"].shape != (1 + dim + dim * dim,):
            return None
        moments = Moments.unpacked(tensors["moments"], dim)
        if not with_vectors:
            return SetFeatures(moments)
        return SetFeatures(moments, tensors["vectors"], tensors.get("logits"), tensors["numbers"].numpy())
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError):
        return None


def write(path: Path | None, features: SetFeatures) -> None:
    """Writes to a temporary file and renames it, so that a half-written file is never read. Warns if that fails."""
    if path is None:
        return
    tensors = {"moments": features.moments.packed(), "dim": torch.tensor(features.moments.dim),
               "vectors": features.vectors, "logits": features.logits, "numbers": torch.from_numpy(features.numbers)}
    try:
        with replacing(path, own_name(path)) as unfinished:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, unfinished)
    except (OSError, SafetensorError) as error:
        go_without(_WHAT, error)
