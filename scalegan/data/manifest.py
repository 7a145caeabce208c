"""What a shard set holds: `manifest.json` for people and programs, `index.safetensors` for byte offsets and labels."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from scalegan.data.spec import Latents
from scalegan.errors import UserError
from scalegan.support.files import write_whole
from scalegan.support.reading import DamagedFile, checked, read_json, regular
from scalegan.support.resolution import Resolution, of_sides

VERSION = 1
MOST_CHANNELS = 16


@dataclass(frozen=True)
class ImageFormat:
    """How every image, or volume, of a set was made and is stored."""

    size: Annotated[int, Field(ge=1, le=1 << 16)]       # side in pixels or voxels, of squares and cubes
    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)]    # 1 grey, 3 RGB, any others as they are
    encoding: Literal["jpeg", "png", "webp", "raw", "as found"]     # raw: HWC or 1DHW bytes; as found: folder backend
    quality: int | None = None  # for jpeg and webp
    crop: str = "center"
    filter: str = "lanczos"
    colour: Literal["", "sRGB"] = ""    # sRGB: some had other embedded profiles, and were converted
    kind: Literal["image", "volume", "latent"] = "image"
    width: Annotated[int, Field(ge=1, le=1 << 16)] | None = None    # of images other than squares, whose height is size
    depth: Literal[8, 16] = 8           # bits per channel
    alpha: bool = False                 # the last channel is alpha, and the others are over white
    latents: Latents | None = None      # which encoder made the latents of which images

    def tree(self) -> dict[str, Any]:
        """The fields for JSON, without those added later where they say what was always so: sets from before them keep
        their content."""
        unsaid = (("colour", ""), ("kind", "image"), ("width", None), ("depth", 8), ("alpha", False),
                  ("latents", None))
        return {name: value for name, value in asdict(self).items() if (name, value) not in unsaid}

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size, self.width or self.size

    @property
    def resolution(self) -> Resolution:
        """The size as `data.resolution` has it."""
        return of_sides(*self.sides)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample as it is stored: (H, W, C); (1, D, H, W) of a volume; mean and standard deviation of a latent,
        [views, 2, C, H, W], where the second view is the mirrored image's."""
        if self.kind == "latent":
            return (1 + self.latents.mirrored, 2, *self.tensor_shape)
        return (1, *[self.size] * 3) if self.kind == "volume" else (*self.sides, self.channels)

    @property
    def dtype(self) -> np.dtype:
        """Of a sample as it is stored. Latents are rounded to float16: to 1 in 2,048 of their values."""
        if self.kind == "latent":
            return np.dtype(np.float16)
        return np.dtype(np.uint16 if self.depth == 16 else np.uint8)

    @property
    def is_photo(self) -> bool:
        """Whether images are grey or RGB of 8 bits, as codecs of photos take."""
        return self.kind == "image" and self.depth == 8 and self.channels in (1, 3)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Of a sample as networks see it: (C, H, W), or (1, D, H, W) of a volume."""
        return self.shape if self.kind == "volume" else (self.channels, *self.sides)


@dataclass(frozen=True)
class LabelSchema:
    """What labels a set has: none, class (one index per record), attributes (a 0/1 vector per record) or vectors (one
    or several per record, in a file of their own).

    Args:
        names: of classes or attributes.
        vectors: SHA-256 of `captions.safetensors`.
        dim: of a vector.
    """

    kind: Literal["none", "class", "attributes", "vectors"] = "none"
    names: tuple[str, ...] = ()
    vectors: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    dim: Annotated[int, Field(ge=0, le=1 << 20)] = 0

    def tree(self) -> dict[str, Any]:
        """The fields for JSON; those of vectors only where there are any: other sets keep their content."""
        return {name: value for name, value in asdict(self).items() if name in ("kind", "names") or value}


@dataclass(frozen=True)
class Shard:
    """One file of records."""

    name: Annotated[str, Field(pattern=r"^[^/]+$")]
    records: PositiveInt
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


@dataclass(frozen=True)
class Index:
    """Per record, in order: where its bytes lie in its shard, their digest, its label, a fast checksum, and who it
    shows, as a number.

    Digests identify the data. They cost an eighth as much as decoding, so loading compares CRC-32 instead.
    """

    offsets: np.ndarray   # int64 [N]
    sizes: np.ndarray     # int64 [N]
    digests: np.ndarray   # uint64 [N], BLAKE2b of the image's bytes
    labels: np.ndarray    # int64 [N] classes, uint8 [N, K] attributes, int64 [N, 2] of vectors, or int64 [0]
    checks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))    # [N], or [0] in sets without them
    people: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))     # [N], or [0] if unknown

    @classmethod
    def join(cls, parts: list["Index"]) -> "Index":
        return cls(*(np.concatenate([getattr(p, f) for p in parts]) for f in cls.__dataclass_fields__))

    def save(self, path: Path) -> None:
        write_whole(path, save({f: getattr(self, f) for f in self.__dataclass_fields__}))

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Raises UserError if the file is missing or damaged."""
        try:
            index = cls(**load_file(regular(path)))
            index.check()
        except (OSError, SafetensorError, TypeError, ValueError, KeyError, DamagedFile) as error:
            raise UserError(f"cannot read {path}: {error}; write the shards again with `scalegan prepare`") from error
        return index

    def check(self) -> None:
        """Raises ValueError if a column is of another type, or of another length than the others."""
        for name, column in vars(self).items():
            known = (column.dtype, column.ndim) in _COLUMNS[name]
            empty = name in ("labels", "checks", "people") and known and not len(column)
            if not known or (len(column) != self.offsets.size and not empty):
                raise ValueError(f"{name} is {column.dtype} {list(column.shape)} for {self.offsets.size} records")


_COLUMNS = {"offsets": [(np.int64, 1)], "sizes": [(np.int64, 1)], "digests": [(np.uint64, 1), (np.int64, 1)],
            "labels": [(np.int64, 1), (np.uint8, 2), (np.int64, 2)], "checks": [(np.uint32, 1)],
            "people": [(np.int64, 1)]}


@dataclass(frozen=True)
class Manifest:
    """A shard set. `content` is the same for the same records in the same order, in whatever files."""

    image: ImageFormat
    labels: LabelSchema
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    source: str
    content: str
    version: int = VERSION

    @cached_property
    def records(self) -> int:
        return sum(shard.records for shard in self.shards)

    def save(self, folder: Path) -> None:
        """Writes manifest.json last and atomically: a folder that has it is complete."""
        tree = {**asdict(self), "image": self.image.tree(), "labels": self.labels.tree()}
        write_whole(folder / "manifest.json", json.dumps(tree, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Raises UserError if it is missing, damaged or of another version."""
        path = folder / "manifest.json"
        try:
            tree = read_json(path)
            if tree.get("version") != VERSION:
                raise UserError(f"{path} has version {tree.get('version')!r}, not {VERSION}; prepare the data again")
            return checked(tree, path.name, cls)
        except (FileNotFoundError, DamagedFile) as error:
            if isinstance(error, FileNotFoundError) or os.path.isfile(folder):
                raise UserError(f"data.path={folder} has no manifest.json; {how_to_prepare(folder)}") from None
            raise UserError(f"cannot read {path}: {error}; prepare the data again") from error


def how_to_prepare(path: Path) -> str:
    """What to do about a path where a set of shards should be."""
    if os.path.isfile(path):
        return f"{path} is a file: make a set of it with `scalegan prepare {path} FOLDER`, and name that folder"
    return f"create it with `scalegan prepare SOURCE {path}`"


def load_set(folder: Path) -> tuple[Manifest, Index]:
    """Manifest and index, with every record inside its shard.

    Raises:
        UserError: if either is missing or damaged, or they do not match.
    """
    manifest, index = Manifest.load(folder), Index.load(folder / "index.safetensors")
    if len(index.offsets) != manifest.records:
        raise UserError(f"{folder}: index.safetensors has {len(index.offsets)} records, manifest.json "
                        f"{manifest.records}; prepare the data again")
    if not _lie_in_shards(manifest, index):
        raise UserError(f"{folder}: index.safetensors does not match manifest.json; prepare the data again")
    return manifest, index


def check_content(origin: str, manifest: Manifest, index: Index) -> None:
    """Raises UserError if the content hash does not match the image format, labels and digests."""
    if content_hash(manifest.image, manifest.labels, index) != manifest.content:
        raise UserError(f"{origin}: manifest.json does not match index.safetensors: its content hash is for another "
                        "image format, other labels or other records; prepare the data again")


def _lie_in_shards(manifest: Manifest, index: Index) -> bool:
    """Whether records follow each other without overlap, inside the shards given by the manifest's counts."""
    counts = [shard.records for shard in manifest.shards]
    ends = index.offsets + index.sizes
    begins = np.append(0, ends[:-1])
    begins[np.cumsum([0, *counts[:-1]])] = 0
    sizes = np.repeat([shard.bytes for shard in manifest.shards], counts)
    return bool((begins <= index.offsets).all() and (index.offsets <= ends).all() and (ends <= sizes).all())


def digest_of(image: bytes) -> int:
    """Eight bytes of BLAKE2b, as stored in the index."""
    return int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "little")


def content_hash(image: ImageFormat, labels: LabelSchema, index: Index) -> str:
    """SHA-256 over image format, digests and labels: the data's identity, whatever shards hold it."""
    hasher = hashlib.sha256(json.dumps([image.tree(), labels.tree()], sort_keys=True).encode())
    for array in (index.digests, index.labels):
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()
