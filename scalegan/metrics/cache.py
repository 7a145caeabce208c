"""Features of real sets, kept on disk: under their content, extractor, resize and count, so never of anything else."""

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
    """In the folder `features` of the cache; None, after a warning, where there is no such folder."""
    key = key_of("features", _LAYOUT, content, extractor.name, extractor.sha256, extractor.resize, count)
    try:
        return cache_folder("features") / f"{extractor.name}-{key:016x}.safetensors"
    except OSError as error:
        go_without(_WHAT, error)
        return None


def read(path: Path | None, with_vectors: bool) -> SetFeatures | None:
    """What was stored there; None where there is nothing, or nothing whole, or no vectors although they are needed, or
    where it is not of this user's own making."""
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
    """Writes beside the place and renames, so that a half-written file is never read. A warning where that fails."""
    if path is None:
        return
    tensors = {"moments": features.moments.packed(), "dim": torch.tensor(features.moments.dim),
               "vectors": features.vectors, "logits": features.logits, "numbers": torch.from_numpy(features.numbers)}
    try:
        with replacing(path, own_name(path)) as unfinished:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, unfinished)
    except (OSError, SafetensorError) as error:
        go_without(_WHAT, error)
