"""WebDataset shards, read by byte offset in the run's own order."""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from isal.isal_zlib import crc32

from scalegan.data.codec import decode_into
from scalegan.data.manifest import digest_of, load_set
from scalegan.data.reading.cache import Remote
from scalegan.data.reading.record_reader import RecordReader, images_of
from scalegan.errors import UserError

OPEN_SHARDS = 400       # of the usual limit of 1,024 files; the windows of many lanes span hundreds of shards
_READ_TOGETHER = 32     # records; bounds memory if they are large


class WebDatasetReader(RecordReader):
    """The records of a shard set: uint8 or uint16 images, or uint8 volumes, labels [N] or [N, K] or None.

    Args:
        folder: holds the manifest and index, and the shards unless they are remote.
        remote: where to fetch the shards of a set given by URL.
    """

    def __init__(self, folder: Path, remote: Remote | None = None) -> None:
        self.folder, self.remote = folder, remote
        self.manifest, self.index = load_set(folder)
        self._first = np.cumsum([0, *(shard.records for shard in self.manifest.shards)])
        if remote is None:
            self._check_files()
        self.sizes = tuple(shard.records for shard in self.manifest.shards)
        self.labels = self.index.labels if len(self.index.labels) else None
        self.sample = images_of(self.manifest.image)
        checks, digests = self.index.checks, self.index.digests
        self._checksum, self._checksums = (crc32, checks) if len(checks) else (digest_of, digests)
        self._files: OrderedDict[int, int] = OrderedDict()

    def _check_files(self) -> None:
        for shard in self.manifest.shards:
            path = self.folder / shard.name
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                state = "is missing" if size is None else f"has {size} bytes, not {shard.bytes}"
                raise UserError(f"{path} {state}; prepare the data again")

    def read(self, out: np.ndarray, records: np.ndarray) -> None:
        for begin in range(0, len(records), _READ_TOGETHER):
            some = records[begin : begin + _READ_TOGETHER]
            for row, record, data in zip(out[begin:], some.tolist(), self._verified(some)):
                self._decode(row, record, data)

    def stored(self, records: np.ndarray) -> Iterator[bytes]:
        """The bytes of each record, unchecked."""
        shards = np.searchsorted(self._first, records, side="right") - 1
        # Lists, because reading arrays element by element is slow.
        places = (column.tolist() for column in (shards, self.index.offsets[records], self.index.sizes[records]))
        for shard, offset, size in zip(*places):
            if self.remote is not None:
                yield self.remote.read(self.manifest.shards[shard], offset, size)
            else:
                yield self._bytes(shard, offset, size)

    def _verified(self, records: np.ndarray) -> list[bytes]:
        """Reads and checks all records before any is decoded, as decoding evicts what reading needs from the caches."""
        found = list(self.stored(records))
        for number, (record, expected) in enumerate(zip(records.tolist(), self._checksums[records].tolist())):
            if self._checksum(found[number]) != expected and self.remote is not None:
                found[number] = self._refetched(record, expected)
            if self._checksum(found[number]) != expected:
                raise self._damage(record, "its checksum differs")
        return found

    def _refetched(self, record: int, expected: int) -> bytes:
        """A record's bytes from a new copy of its damaged remote shard; another process may have fetched it already."""
        data, = self.stored(np.array([record]))
        if self._checksum(data) != expected:
            self.remote.drop(self.manifest.shards[self._shard_of(record)])
            data, = self.stored(np.array([record]))
        return data

    def _decode(self, out: np.ndarray, record: int, data: bytes) -> None:
        try:
            decode_into(out, data, self.manifest.image)
        except (ValueError, OSError) as error:
            raise self._damage(record, str(error)) from error

    def _damage(self, record: int, how: str) -> UserError:
        return UserError(f"record {record} in {self._place_of(self._shard_of(record))} is damaged ({how}); restore "
                         "that shard, or remove the dataset and prepare it again")

    def _shard_of(self, record: int) -> int:
        return int(np.searchsorted(self._first, record, side="right")) - 1

    def _place_of(self, shard: int) -> str:
        return f"{self.remote.url if self.remote else self.folder}/{self.manifest.shards[shard].name}"

    def _bytes(self, shard: int, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._open(shard), size, offset)
        except OSError as error:
            raise self._file_error("read", shard, error) from error

    def _open(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) == OPEN_SHARDS:
            os.close(self._files.popitem(last=False)[1])
        try:
            self._files[shard] = os.open(self.folder / self.manifest.shards[shard].name, os.O_RDONLY)
        except OSError as error:
            raise self._file_error("open", shard, error) from error
        return self._files[shard]

    def _file_error(self, verb: str, shard: int, error: OSError) -> UserError:
        remedy = "raise `ulimit -n`" if error.errno == errno.EMFILE else "restore the shard and run again"
        return UserError(f"cannot {verb} {self._place_of(shard)}: {error.strerror}; {remedy}")

    def expect(self, records: np.ndarray) -> None:
        if self.remote is not None:
            return
        shards = np.searchsorted(self._first, records, side="right") - 1
        ends = np.flatnonzero((np.diff(records) != 1) | (np.diff(shards) != 0))
        firsts, lasts = np.append(0, ends + 1), np.append(ends, len(records) - 1)
        offsets, sizes = self.index.offsets[records], self.index.sizes[records]
        for first, last in zip(firsts, lasts):
            begin, end = int(offsets[first]), int(offsets[last] + sizes[last])
            os.posix_fadvise(self._open(int(shards[first])), begin, end - begin, os.POSIX_FADV_WILLNEED)
