"""Checks the files of a set against its manifest and index."""

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from isal.isal_zlib import crc32

from scalegan.data import captions
from scalegan.data.beton_file import BETON, open_pipeline, stands_alone
from scalegan.data.manifest import Index, Manifest, Shard, content_hash, digest_of
from scalegan.errors import UserError

_LISTED = 3     # damaged records listed in a message


def damage_of_shard(path: Path, shard: Shard, index: Index) -> str | None:
    """What is wrong with one shard file, or None. `index` covers this shard only."""
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != shard.bytes:
        return f"has {path.stat().st_size:,} bytes, not {shard.bytes:,}"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        records = (content[begin : begin + size] for begin, size in zip(index.offsets, index.sizes))
        if bad := damage_of_records(records, index):
            return bad
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            return "does not have the SHA-256 in the manifest"
    return None


def damage_of_records(records: Iterable[bytes], index: Index) -> str | None:
    """Which of the records, in the index's order, do not match it; or None."""
    checks = index.checks if len(index.checks) else [None] * len(index.digests)
    bad = [number for number, (data, digest, check) in enumerate(zip(records, index.digests, checks))
           if digest_of(data) != digest or (check is not None and crc32(data) != check)]
    if not bad:
        return None
    return f"has {len(bad)} damaged record(s): {', '.join(map(str, bad[:_LISTED]))}" + ", ..." * (len(bad) > _LISTED)


def damage_of_beton(folder: Path) -> str | None:
    """Checks every record of data.beton against the index; returns what is wrong, or None."""
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    try:
        pipeline = open_pipeline(folder / BETON, manifest, index)
    except UserError as error:
        return str(error)
    places = zip(pipeline.places.tolist(), pipeline.sizes.tolist())
    return damage_of_records((pipeline.file[place : place + size].tobytes() for place, size in places), index)


def damage_of_set(folder: Path) -> Iterator[tuple[str, str | None]]:
    """(file, damage or None) for the index and every shard of a set, as they are checked."""
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    yield "index.safetensors", _damage_of_index(manifest, index)
    if manifest.labels.kind == "vectors":
        yield captions.FILE, _damage_of_captions(folder, manifest)
    if manifest.image.kind == "latent":
        yield _damage_of_autoencoder(folder, manifest)
    if len(index.offsets) != manifest.records:
        return
    if (folder / BETON).is_file():
        yield BETON, damage_of_beton(folder)
        if stands_alone(folder):
            return
    bounds = np.cumsum([0, *(shard.records for shard in manifest.shards)])
    parts = [slice_of(index, bounds[i], bounds[i + 1]) for i in range(len(manifest.shards))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = [folder / shard.name for shard in manifest.shards]
        damages = pool.map(damage_of_shard, paths, manifest.shards, parts)
        for shard, damage in zip(manifest.shards, damages):
            yield shard.name, damage


def _damage_of_captions(folder: Path, manifest: Manifest) -> str | None:
    try:
        captions.read(folder, manifest.labels.vectors)
    except UserError as error:
        return f"is damaged ({error})"
    return None


def _damage_of_autoencoder(folder: Path, manifest: Manifest) -> tuple[str, str | None]:
    from scalegan.data import autoencoder_file  # which imports torch
    from scalegan.support import digests

    name = autoencoder_file.FILE
    try:
        found = autoencoder_file.read(folder / name)
    except UserError as error:
        return name, f"is damaged ({error})"
    latents = manifest.image.latents
    same = found.encoder is not None and \
        (digests.digest_of(found.encoder), digests.digest_of(found.decoder)) == (latents.encoder, latents.decoder)
    return name, None if same else "has other weights than the manifest says"


def slice_of(index: Index, begin: int, end: int) -> Index:
    """The index of records begin ... end - 1."""
    return Index(*(getattr(index, name)[begin:end] for name in Index.__dataclass_fields__))


def _damage_of_index(manifest: Manifest, index: Index) -> str | None:
    if len(index.offsets) != manifest.records:
        return f"has {len(index.offsets):,} records, but manifest.json has {manifest.records:,}"
    if content_hash(manifest.image, manifest.labels, index) != manifest.content:
        return "does not match manifest.json: their content hashes differ"
    return None
