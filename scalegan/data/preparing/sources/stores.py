"""Stores of files: a folder, a zip that is read in place, or a tar. Each reads bytes by name, in any process."""

import gzip
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from scalegan.errors import UserError
from scalegan.support.reading import MEGABYTE, DamagedFile, read_bytes, regular

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
                            ".jfif", ".jpe"))
_ARRAYS = ".npy"                # are images where a store has no pictures
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_MADE_HERE = (("config.yaml", ".lock"), ("manifest.json", "index.safetensors"))     # files that tell such a folder
_LOCAL_HEADER = 30
LARGEST = 256 * MEGABYTE        # of a file that is read: a picture, a table of labels, a batch of CIFAR-10
_LARGEST_TAR = 2048 * MEGABYTE  # CIFAR-10 has 0.2 GB


class Store(Protocol):
    """Files by name, with / between folders."""

    path: Path

    def names(self) -> list[str]: ...

    def listing(self) -> tuple[list[str], list[str]]:
        """The names of all files, and of all folders, empty ones too."""

    def read(self, name: str) -> bytes:
        """Raises ValueError or OSError if the file is damaged or missing."""


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot list {error.filename}: {error.strerror}; make it readable, or move it") from error


class Folder:
    """A folder and everything below it, except for runs and prepared sets: a run among the photos that it learns from
    would otherwise learn from its own samples.

    Args:
        unreadable: called for each folder that cannot be listed; by default it raises UserError.
    """

    def __init__(self, path: Path, unreadable: Callable[[OSError], None] = _unreadable) -> None:
        self.path, self.unreadable = path, unreadable

    def names(self) -> list[str]:
        return self.listing()[0]

    def listing(self) -> tuple[list[str], list[str]]:
        found, seen = [], []
        for folder, folders, files in os.walk(self.path, onerror=self.unreadable, followlinks=True):
            folders[:] = [name for name in folders if name != "lost+found"
                          and not _is_cyclic(Path(folder, name)) and not _is_made_here(Path(folder, name))]
            inside = Path(folder).relative_to(self.path).as_posix()
            found += files if inside == "." else [f"{inside}/{file}" for file in files]
            seen += [inside] * (inside != ".")
        return found, seen

    def read(self, name: str) -> bytes:
        try:
            return read_bytes(self.path / name, LARGEST)
        except DamagedFile as error:
            raise ValueError(str(error)) from error


def _is_cyclic(path: Path) -> bool:
    """Whether a link points to one of its own parent folders."""
    return path.is_symlink() and path.resolve() in {above.resolve() for above in path.parents}


def _is_made_here(path: Path) -> bool:
    """Whether it is the folder of a run or of a prepared set."""
    return any(all(os.path.exists(path / name) for name in names) for names in _MADE_HERE)


class _Member(NamedTuple):
    """What is needed to read a file of a zip without the zip's directory."""

    offset: int
    packed: int
    size: int
    method: int
    crc: int


class Zip:
    """A zip, stored or deflated. Files are read by offset, so many processes can share it and need no directory other
    than `members`."""

    def __init__(self, path: Path) -> None:
        self.path, self.changed = path, path.stat().st_mtime_ns
        try:
            with zipfile.ZipFile(path) as archive:
                everything = archive.infolist()
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error, EOFError) as error:
            raise UserError(f"{path} is not a complete zip ({error}); download it again") from error
        infos = [info for info in everything if not info.is_dir()]
        self._check(infos)
        separator = "/" if any("/" in info.filename for info in infos) else "\\"     # written by old Windows
        self.members = {_plain(info.filename.replace(separator, "/")):
                        _Member(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
                        for info in infos}
        self.folders = [_plain(info.filename.replace(separator, "/")) for info in everything if info.is_dir()]

    def _check(self, infos: list[zipfile.ZipInfo]) -> None:
        for info in infos:
            if info.flag_bits & 1:
                raise UserError(f"{self.path} is encrypted; unpack it and use the folder")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UserError(f"{self.path} uses compression {info.compress_type}; unpack it and use the folder")

    def names(self) -> list[str]:
        return list(self.members)

    def listing(self) -> tuple[list[str], list[str]]:
        parents = {parent.as_posix() for name in self.members for parent in PurePosixPath(name).parents}
        return self.names(), sorted({*self.folders, *parents} - {"."})

    def read(self, name: str) -> bytes:
        member, file = self.members[name], _descriptor(self.path, self.changed)
        if max(member.packed, member.size) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST:,} bytes")
        if member.offset + member.packed > os.fstat(file).st_size:
            raise ValueError("the zip is damaged at this file")
        header = os.pread(file, _LOCAL_HEADER, member.offset)
        if header[:4] != b"PK\x03\x04":
            raise ValueError("the zip is damaged at this file")
        variable = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        data = os.pread(file, member.packed, member.offset + _LOCAL_HEADER + variable)
        try:
            data = _inflated(data, member.size) if member.method == zipfile.ZIP_DEFLATED else data
        except zlib.error as error:
            raise ValueError(f"the zip is damaged at this file: {error}") from error
        if zlib.crc32(data) != member.crc:
            raise ValueError("its CRC-32 does not match the zip's directory")
        return data


def _inflated(data: bytes, size: int) -> bytes:
    """Unpacked bytes. Raises ValueError where they are others than so many: there may be a thousand times as many."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflate.decompress(data, size + 1)      # one more than there should be; 0 would stand for no bound
    if len(found) != size:
        count = "more" if len(found) > size else "fewer"
        raise ValueError(f"the zip is damaged at this file: the file has {count} bytes than it says")
    return found


def _plain(name: str) -> str:
    """The name without a leading / or ./."""
    return str(PurePosixPath("/", name).relative_to("/"))


class _Header(tarfile.TarInfo):
    """A header whose extensions, such as long names, are of a bounded size, as they are held in memory."""

    @classmethod
    def frombuf(cls, buffer: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        header = super().frombuf(buffer, encoding, errors)
        if not header.isreg() and header.size > MEGABYTE:
            raise tarfile.ReadError("a header is larger than a megabyte")
        return header


class Tar:
    """A tar, compressed or not; read from the start each time, so only for a few large files.

    Raises:
        UserError: if it is incomplete, or larger than anything that is read from a tar.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        with self._opened() as archive:
            return [member.name for member in self._members(archive)]

    def listing(self) -> tuple[list[str], list[str]]:
        return self.names(), []

    def read(self, name: str) -> bytes:
        with self._opened() as archive:
            named = [member for member in self._members(archive) if member.name == name]
            if not named:
                raise ValueError("the tar has no such file any more")
            member = named[-1]      # a tar that was added to may have several, of which the last counts
            if member.size > LARGEST:
                raise ValueError(f"it is larger than {LARGEST:,} bytes")
            return archive.extractfile(member).read()

    def _members(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        """Its files. A compressed tar may unpack to a thousand times its size."""
        for member in archive:
            if member.offset_data + member.size > _LARGEST_TAR:
                raise UserError(f"{self.path} unpacks to more than {_LARGEST_TAR:,} bytes; unpack it and use the "
                                "folder")
            if member.isfile():
                yield member

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.path, tarinfo=_Header) as archive:
                yield archive
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.path} is not a complete tar ({reason}); download it again") from error


@lru_cache(maxsize=8)
def _descriptor(path: Path, changed: int) -> int:
    """A cached open file; `changed` tells a replaced file from the old one."""
    return os.open(regular(path), os.O_RDONLY)


def open_store(path: Path) -> Store:
    """Opens a folder, zip or tar. Raises UserError if it is none of these."""
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist")
    regular(path)
    if path.name.endswith(_TAR_SUFFIXES):
        return Tar(path)
    if zipfile.is_zipfile(path) or path.suffix == ".zip":
        return Zip(path)
    raise UserError(f"{path} is not a folder, a zip or a tar")


def image_files(store: Store) -> list[str]:
    """The visible image files of a store, in natural order: 2.jpg before 10.jpg.

    Raises:
        UserError: for a tar, since finding each image would mean reading from the start.
    """
    return images_among(store, store.names())


def images_among(store: Store, names: list[str]) -> list[str]:
    """Those of a store's names that `image_files` would give."""
    files = sorted([*filter(_is_image, names)] or filter(_is_array, names), key=natural)
    if files and isinstance(store, Tar):
        raise UserError(f"{store.path} is a tar of images, which cannot be read in random order; unpack it and use "
                        "the folder")
    return files


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def _is_array(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() == _ARRAYS and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder around it, is one that systems hide."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key that compares digits as numbers; the name itself decides between 1.jpg and 01.jpg."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))], name
