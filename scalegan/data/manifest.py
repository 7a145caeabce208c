"""What a shard set holds: `manifest.json` for people and programs, `index.safetensors` for byte offsets and labels."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from scalegan.data.files import write_whole
from scalegan.errors import UserError

VERSION = 1


@dataclass(frozen=True)
class ImageFormat:
    """How every image of a set was made and is stored."""

    size: int                   # side in pixels; images are square
    channels: int               # 1 grey, 3 RGB
    encoding: str               # jpeg, png, webp or raw (HWC bytes)
    quality: int | None = None  # of jpeg and webp
    crop: str = "center"
    filter: str = "lanczos"


@dataclass(frozen=True)
class LabelSchema:
    """none; class: one index per record; attributes: a 0/1 vector per record."""

    kind: str = "none"
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shard:
    """One file of records."""

    name: str
    records: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """Per record, in order: where its bytes lie in its shard, their digest, its label, and a quick checksum.

    Digests are the data's identity. They take an eighth of the time that decoding does, so loading compares CRC-32.
    """

    offsets: np.ndarray   # int64 [N]
    sizes: np.ndarray     # int64 [N]
    digests: np.ndarray   # uint64 [N], BLAKE2b of the image's bytes
    labels: np.ndarray    # int64 [N] classes, uint8 [N, K] attributes, or int64 [0]
    checks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))    # [N], or [0] in sets without

    @classmethod
    def join(cls, parts: list["Index"]) -> "Index":
        return cls(*(np.concatenate([getattr(p, f) for p in parts]) for f in cls.__dataclass_fields__))

    def save(self, path: Path) -> None:
        write_whole(path, save({f: getattr(self, f) for f in self.__dataclass_fields__}))

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Raises UserError where the file is missing or damaged."""
        try:
            return cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise UserError(f"cannot read {path}: {error}; write the shards again with `scalegan prepare`") from error


@dataclass(frozen=True)
class Manifest:
    """A shard set. `content` is the same for the same records in the same order, however they are stored."""

    image: ImageFormat
    labels: LabelSchema
    shards: tuple[Shard, ...]
    source: str
    content: str
    version: int = VERSION

    @cached_property
    def records(self) -> int:
        return sum(shard.records for shard in self.shards)

    def save(self, folder: Path) -> None:
        """Writes manifest.json last and at once: a folder that has it is whole."""
        write_whole(folder / "manifest.json", json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Raises UserError where there is none, or none of ours."""
        path = folder / "manifest.json"
        try:
            tree = json.loads(path.read_text())
            if tree["version"] != VERSION:
                raise UserError(f"{path} is of version {tree['version']}, not {VERSION}; prepare the data again")
            tree["labels"]["names"] = tuple(tree["labels"]["names"])
            tree["image"], tree["labels"] = ImageFormat(**tree["image"]), LabelSchema(**tree["labels"])
            return cls(**{**tree, "shards": tuple(Shard(**s) for s in tree["shards"])})
        except FileNotFoundError:
            raise UserError(f"data.path={folder} has no manifest.json; make it with "
                            f"`scalegan prepare SOURCE {folder}`") from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"cannot read {path}: {error!r}; prepare the data again") from error


def digest_of(image: bytes) -> int:
    """Eight bytes of BLAKE2b, as the index keeps it."""
    return int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "little")


def content_hash(image: ImageFormat, labels: LabelSchema, index: Index) -> str:
    """SHA-256 over the records' digests and labels: the identity of the data, whatever shards hold it."""
    hasher = hashlib.sha256(json.dumps([asdict(image), asdict(labels)], sort_keys=True).encode())
    for array in (index.digests, index.labels):
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()
