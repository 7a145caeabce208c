"""Stores of files: a folder, a zip that is read in place, or a tar. Each reads bytes by name, in any process."""

import gzip
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from scalegan.errors import UserError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
                            ".jfif", ".jpe"))
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_LOCAL_HEADER = 30


class Store(Protocol):
    """Files by name, with / between folders."""

    path: Path

    def names(self) -> list[str]: ...

    def listing(self) -> tuple[list[str], list[str]]:
        """The names of all files, and of all folders, empty ones too."""

    def read(self, name: str) -> bytes:
        """Raises ValueError or OSError if the file is damaged or missing."""


class Folder:
    """A folder and everything below it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return self.listing()[0]

    def listing(self) -> tuple[list[str], list[str]]:
        found, seen = [], []
        for folder, folders, files in os.walk(self.path, onerror=_unreadable, followlinks=True):
            folders[:] = [name for name in folders if not _is_cyclic(Path(folder, name)) and name != "lost+found"]
            inside = Path(folder).relative_to(self.path).as_posix()
            found += files if inside == "." else [f"{inside}/{file}" for file in files]
            seen += [inside] * (inside != ".")
        return found, seen

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot list {error.filename}: {error.strerror}; make it readable, or move it") from error


def _is_cyclic(path: Path) -> bool:
    """Whether a link points to one of its own parent folders."""
    return path.is_symlink() and path.resolve() in {above.resolve() for above in path.parents}


class _Member(NamedTuple):
    """What is needed to read a file of a zip without the zip's directory."""

    offset: int
    packed: int
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
        except zipfile.BadZipFile as error:
            raise UserError(f"{path} is not a complete zip ({error}); download it again") from error
        infos = [info for info in everything if not info.is_dir()]
        self._check(infos)
        separator = "/" if any("/" in info.filename for info in infos) else "\\"     # written by old Windows
        self.members = {_plain(info.filename.replace(separator, "/")):
                        _Member(info.header_offset, info.compress_size, info.compress_type, info.CRC) for info in infos}
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
        header = os.pread(file, _LOCAL_HEADER, member.offset)
        if header[:4] != b"PK\x03\x04":
            raise ValueError("the zip is damaged there")
        variable = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        data = os.pread(file, member.packed, member.offset + _LOCAL_HEADER + variable)
        try:
            data = zlib.decompress(data, -zlib.MAX_WBITS) if member.method == zipfile.ZIP_DEFLATED else data
        except zlib.error as error:
            raise ValueError(f"the zip is damaged there: {error}") from error
        if zlib.crc32(data) != member.crc:
            raise ValueError("its checksum differs from the zip's")
        return data


def _plain(name: str) -> str:
    """The name without a leading / or ./."""
    return str(PurePosixPath("/", name).relative_to("/"))


class Tar:
    """A tar, compressed or not; read from the start each time, so only for a few large files.

    Raises:
        UserError: if it is incomplete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        with self._opened() as archive:
            return [member.name for member in archive if member.isfile()]

    def listing(self) -> tuple[list[str], list[str]]:
        return self.names(), []

    def read(self, name: str) -> bytes:
        with self._opened() as archive:
            return archive.extractfile(name).read()

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.path) as archive:
                yield archive
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{self.path} is not a complete tar ({error}); download it again") from error


@lru_cache(maxsize=8)
def _descriptor(path: Path, changed: int) -> int:
    """A cached open file; `changed` tells a replaced file from the old one."""
    return os.open(path, os.O_RDONLY)


def open_store(path: Path) -> Store:
    """Opens a folder, zip or tar. Raises UserError if it is none of these."""
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist")
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
    files = sorted(filter(_is_image, names), key=natural)
    if files and isinstance(store, Tar):
        raise UserError(f"{store.path} is a tar of images, which has no directory to find them by; unpack it and use "
                        "the folder")
    return files


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder around it, is one that systems hide."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key that compares digits as numbers; the name itself decides between 1.jpg and 01.jpg."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))], name
