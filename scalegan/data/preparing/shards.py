"""Writes WebDataset shards: plain tars that any WebDataset reader can open, plus our index of byte offsets."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal.isal_zlib import crc32

from scalegan.data.manifest import ImageFormat, Index, LabelSchema, Manifest, Shard, content_hash, digest_of
from scalegan.support.files import replacing

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "raw": "raw"}


class Record(NamedTuple):
    """One image as it will be stored, its label (a class, a 0/1 vector, the first of its vectors and their number, or
    None), and the number of who it shows."""

    image: bytes
    label: int | np.ndarray | None
    person: int | None = None


def write_shard(path: Path, records: Iterable[Record], first: int, encoding: str) -> tuple[Shard, Index]:
    """Writes one tar under a temporary name, syncs and renames it. `first` is the number of its first record.

    The same records give the same bytes: member times and owners are zero.
    """
    offsets, sizes, digests, labels, checks, people = [], [], [], [], [], []
    with replacing(path) as unfinished:
        with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, record in enumerate(records, start=first):
                offsets.append(tar.offset + tarfile.BLOCKSIZE)
                sizes.append(len(record.image))
                digests.append(digest_of(record.image))
                checks.append(crc32(record.image))
                _add(tar, f"{number:09d}.{EXTENSIONS[encoding]}", record.image)
                people += [] if record.person is None else [record.person]
                if record.label is not None:
                    labels.append(record.label)
                    _add(tar, f"{number:09d}.{_label_extension(record.label)}", _label_text(record.label))
        shard = Shard(path.name, len(sizes), unfinished.stat().st_size, file_sha256(unfinished))
    index = Index(np.array(offsets, np.int64), np.array(sizes, np.int64), np.array(digests, np.uint64),
                  np.array(labels, labels[0].dtype if labels and np.ndim(labels[0]) else np.int64),
                  np.array(checks, np.uint32), np.array(people, np.int64))
    return shard, index


def finish(folder: Path, shards: list[Shard], indexes: list[Index], image: ImageFormat, labels: LabelSchema,
           source: str) -> Manifest:
    """Joins the shards' indexes and writes index.safetensors and manifest.json, which completes the set."""
    index = Index.join(indexes)
    index.save(folder / "index.safetensors")
    manifest = Manifest(image, labels, tuple(shards), source, content_hash(image, labels, index))
    manifest.save(folder)
    return manifest


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _label_extension(label: int | np.ndarray) -> str:
    """The extension by which WebDataset's decoders read a class as an integer and attributes as a list."""
    return "json" if np.ndim(label) else "cls"


def _label_text(label: int | np.ndarray) -> bytes:
    """A class as its number, attributes as a list of 0s and 1s, vectors as their first place and their number."""
    return json.dumps(np.asarray(label).tolist()).encode()
