"""The work of one `scalegan prepare` process: read a span of the source, convert its pictures, write its shard."""

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scalegan.data.codec import encode
from scalegan.data.manifest import ImageFormat, Index, Shard
from scalegan.data.picture import fit, has_16_bits, has_subsampled_chroma, is_converted, read_picture
from scalegan.data.preparing.plan import Span, entries_of
from scalegan.data.preparing.shards import Record, write_shard
from scalegan.data.preparing.sources.base import Entry, Picture, Source, attempt
from scalegan.data.preparing.sources.shapes import Shape
from scalegan.data.preparing.verify import damage_of_shard
from scalegan.data.rasters import fit_raster, holds_colours, read_raster
from scalegan.errors import UserError
from scalegan.support.files import write_whole
from scalegan.support.reading import DamagedFile, parse_json, regular

if TYPE_CHECKING:
    from scalegan.data.preparing.encoding import Encoding  # which imports torch

WORK = ".prepare"
_REPORT_EVERY = 32
_READ_AHEAD = 32


class Rejected(NamedTuple):
    """A record that was left out, and why."""

    key: str
    reason: str


class Progress(NamedTuple):
    """Number of records processed since the last report, and those of them that were rejected."""

    records: int
    rejected: list[Rejected]


@dataclass
class _Stored:
    """A shard as an outcome has it: without records where all were rejected."""

    name: str
    records: NonNegativeInt
    bytes: NonNegativeInt
    sha256: str


@dataclass
class _Facts:
    """The header of an outcome."""

    shard: _Stored
    rejected: list[tuple[Any, Any]]     # not str, as keys may be names of files that are not UTF-8
    enlarged: NonNegativeInt
    cut: list[NonNegativeFloat]
    converted: NonNegativeInt
    reduced: NonNegativeInt
    index: str                          # digest


@dataclass
class Outcome:
    """A finished shard: its manifest entry, its part of the index, and what happened to the records left out."""

    shard: Shard
    index: Index
    rejected: list[Rejected] = field(default_factory=list)
    enlarged: int = 0           # pictures smaller than the stored size
    converted: int = 0          # pictures whose embedded profile was not sRGB's
    reduced: int = 0            # pictures of 16 bits per channel stored with 8
    cut: list[float] = field(default_factory=list)      # the share of its pixels that each cropped picture lost

    def save(self, path: Path) -> None:
        facts = {"shard": asdict(self.shard), "rejected": self.rejected, "enlarged": self.enlarged,
                 "converted": self.converted, "reduced": self.reduced, "cut": self.cut,
                 "index": _digest_of(self.index)}
        write_whole(path, save(vars(self.index), {"outcome": json.dumps(facts)}))

    @classmethod
    def load(cls, path: Path) -> "Outcome | None":
        """None if the file is missing or damaged, or from an earlier version."""
        try:
            with safe_open(regular(path), "numpy") as file:
                facts = parse_json((file.metadata() or {}).get("outcome", ""), str(path), _Facts)
                index = Index(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            index.check()
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, DamagedFile):
            return None
        if len(index.offsets) != facts.shard.records or _digest_of(index) != facts.index:
            return None
        return cls(Shard(**vars(facts.shard)), index, [Rejected(*one) for one in facts.rejected], facts.enlarged,
                   facts.converted, facts.reduced, facts.cut)


def _digest_of(index: Index) -> str:
    """As the shard itself is not read again when an interrupted call is resumed."""
    hasher = hashlib.sha256()
    for column in vars(index).values():
        hasher.update(np.ascontiguousarray(column).tobytes())
    return hasher.hexdigest()


@dataclass(frozen=True)
class ShardJob:
    """Writes shards; one instance serves a whole set and is sent to every worker once.

    Args:
        folder: the destination; each subset has its own folder in it.
        image: of the pictures.
        only_grey: reject colour, because the set was found to be grey.
        encoding: what makes latents of the pictures, or None to store them as they are.
    """

    source: Source
    image: ImageFormat
    validation: float
    folder: Path
    only_grey: bool
    encoding: "Encoding | None" = None

    @property
    def stored(self) -> ImageFormat:
        """The format of the records."""
        return self.image if self.encoding is None else self.encoding.stored

    def __call__(self, span: Span, report: Callable[[Progress], None]) -> Outcome:
        """Writes, verifies and renames one shard, then records that it is finished."""
        conversion = _Conversion(self, report)
        temporary = self.folder / WORK / span.subset / span.name
        final = self.folder / span.subset / span.name
        shard, index = write_shard(temporary, conversion.records(span), span.first, self.stored.encoding)
        damage = damage_of_shard(temporary, shard, index)
        if damage:
            raise UserError(f"{temporary} {damage} right after it was written; check the disk and the memory")
        temporary.rename(final)
        outcome = Outcome(shard, index, conversion.rejected, conversion.enlarged, conversion.converted,
                          conversion.reduced, conversion.cut)
        outcome.save(self.outcome_path(span))
        return outcome

    def outcome_path(self, span: Span) -> Path:
        return self.folder / WORK / span.subset / f"{span.number:06d}.safetensors"

    def finished(self, span: Span) -> Outcome | None:
        """The outcome of a shard if an earlier, interrupted call finished it."""
        outcome = Outcome.load(self.outcome_path(span))
        path = self.folder / span.subset / span.name
        whole = outcome is not None and path.is_file() and path.stat().st_size == outcome.shard.bytes
        return outcome if whole else None

    def encoded(self, picture: Picture) -> tuple[bytes, bool, float]:
        """The bytes to store, whether the picture had to be enlarged, and the share of it that was cut off. Raises
        ValueError if it is unusable."""
        if isinstance(picture, Shape):
            return encode(picture.voxels(self.image.size), self.image), False, 0.0
        if not self.image.is_photo:
            fitted = fit_raster(read_raster(picture, self.image), self.image)
            return self._bytes(fitted.pixels), fitted.scale > 1, fitted.cut
        pixels = read_picture(picture) if isinstance(picture, bytes) else picture
        if self.only_grey and pixels.shape[2] == 3:
            raise ValueError("it is in colour among grey pictures; use --channels 3, or 1 to make all grey")
        stored, scale, cut = fit(pixels, self.image.crop, self.image.sides, self.image.channels, self.image.filter)
        # Unless it is reduced, finer colour than it came with would cost bytes and decoding time for hardly any detail.
        coarse = isinstance(picture, bytes) and scale >= 1 and has_subsampled_chroma(picture)
        return self._bytes(stored, coarse), scale > 1, cut

    def _bytes(self, pixels: np.ndarray, coarse_colour: bool = False) -> bytes:
        if self.encoding is not None:
            return encode(self.encoding(pixels), self.stored)
        return encode(pixels, self.image, coarse_colour)


class _Conversion:
    """Converts the records of one shard, and keeps track of those rejected, and of what the others lost."""

    def __init__(self, job: ShardJob, report: Callable[[Progress], None]) -> None:
        self.job, self.report = job, report
        self.rejected: list[Rejected] = []
        self.enlarged = self.converted = self.reduced = 0
        self.cut: list[float] = []

    def records(self, span: Span) -> Iterator[Record]:
        seen = reported = rejects_reported = 0
        for entry, picture in _read_ahead(entries_of(self.job.source, span, self.job.validation)):
            record = self._record(entry, picture)
            if record is not None:
                yield record
            seen += 1
            if seen - reported == _REPORT_EVERY or seen == span.records:
                self.report(Progress(seen - reported, self.rejected[rejects_reported:]))
                reported, rejects_reported = seen, len(self.rejected)
        if seen < span.records:
            raise UserError(f"{self.job.source.name} ended {span.records - seen} records early in shard {span.name}; "
                            "did it change while it was being read?")

    def _record(self, entry: Entry, picture: Picture | Exception) -> Record | None:
        try:
            if isinstance(picture, Exception):
                raise ValueError(str(picture)) from picture
            data, enlarged, cut = self.job.encoded(picture)
        except ValueError as error:
            self.rejected.append(Rejected(entry.key, str(error)))
            return None
        self.enlarged += enlarged
        self.cut += [cut] if cut else []
        self.converted += isinstance(picture, bytes) and holds_colours(self.job.image) and is_converted(picture)
        self.reduced += isinstance(picture, bytes) and self.job.image.is_photo and has_16_bits(picture)
        return Record(data, entry.label, entry.person)


def _read_ahead(entries: Iterator[Entry]) -> Iterator[tuple[Entry, Picture | Exception]]:
    """Reads a few records ahead in a thread, so that a slow disk and the decoder work in parallel."""
    buffer: queue.Queue = queue.Queue(_READ_AHEAD)

    def read() -> None:
        try:
            for entry in entries:
                buffer.put((entry, attempt(entry.read)))
        except (UserError, OSError) as error:
            buffer.put(error)
        finally:
            buffer.put(None)     # even after an error, or the consumer would wait forever

    threading.Thread(target=read, daemon=True).start()
    while (item := buffer.get()) is not None:
        if isinstance(item, Exception):
            raise item
        yield item
