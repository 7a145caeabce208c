"""Holds what is on disk against what manifest and index say."""

import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from scalegan.data.ffcv_store import BETON, damage_of_beton
from scalegan.data.manifest import Index, Manifest, Shard, content_hash, digest_of

_NAMED = 3      # damaged records that a message names


def damage_of_shard(path: Path, shard: Shard, index: Index) -> str | None:
    """What is wrong with one shard file, or None. `index` is the shard's own part."""
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != shard.bytes:
        return f"has {path.stat().st_size:,} bytes, not {shard.bytes:,}"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        bad = [i for i in range(shard.records)
               if digest_of(content[index.offsets[i] : index.offsets[i] + index.sizes[i]]) != index.digests[i]]
        if bad:
            named = ", ".join(map(str, bad[:_NAMED])) + (", ..." if len(bad) > _NAMED else "")
            return f"has {len(bad)} damaged record(s): {named}"
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            return "has another SHA-256 than the manifest says"
    return None


def damage_of_set(folder: Path) -> Iterator[tuple[str, str | None]]:
    """(file, damage or None) for the index and every shard of a set, as they are checked."""
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    yield "index.safetensors", _damage_of_index(manifest, index)
    if len(index.offsets) != manifest.records:
        return
    if (folder / BETON).is_file():
        yield BETON, damage_of_beton(folder)
        if not any((folder / shard.name).exists() for shard in manifest.shards):
            return      # it holds all records; whoever reads nothing else may remove the tars
    bounds = np.cumsum([0, *(shard.records for shard in manifest.shards)])
    parts = [slice_of(index, bounds[i], bounds[i + 1]) for i in range(len(manifest.shards))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = [folder / shard.name for shard in manifest.shards]
        damages = pool.map(damage_of_shard, paths, manifest.shards, parts)
        for shard, damage in zip(manifest.shards, damages):
            yield shard.name, damage


def slice_of(index: Index, begin: int, end: int) -> Index:
    """The index of records begin ... end - 1."""
    labels = index.labels[begin:end] if len(index.labels) else index.labels
    return Index(index.offsets[begin:end], index.sizes[begin:end], index.digests[begin:end], labels)


def _damage_of_index(manifest: Manifest, index: Index) -> str | None:
    if len(index.offsets) != manifest.records:
        return f"has {len(index.offsets):,} records, manifest.json {manifest.records:,}"
    if content_hash(manifest.image, manifest.labels, index) != manifest.content:
        return "does not belong to manifest.json: their content hashes differ"
    return None
