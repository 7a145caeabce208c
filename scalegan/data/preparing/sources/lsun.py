"""LSUN as published: one LMDB per category, opaque keys, JPEG or WebP values, read in key order."""

import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Entry, Picture, Place, attempt
from scalegan.data.preparing.sources.lmdb_pages import damage_of_pages
from scalegan.data.preparing.sources.stores import Zip
from scalegan.errors import UsageError, UserError
from scalegan.support.reading import regular

# An LMDB is read through a memory map, whose touched pages count as this process's memory until it is closed; and for
# each page touched (the first one of a value even if only its key is read) the system maps up to 2 MB around it.
# Reopening it after this many records keeps memory flat, in whatever order the values lie.
_SLICE = 64


class Lsun:
    """One or several LMDBs; with several, the category is the label.

    Args:
        labels: `auto` (class if there are several), `class` or `none`.
    """

    def __init__(self, paths: list[Path], labels: str = "auto") -> None:
        if labels not in ("auto", "class", "none"):
            raise UsageError(f"--labels {labels}: LSUN has classes (its categories) or none")
        self.paths = [_database(path) for path in paths]
        self.counts = [_count(path) for path in self.paths]
        categories = tuple(_category(path) for path in self.paths)
        labelled = labels == "class" or (labels == "auto" and len(paths) > 1)
        if labelled and len(set(categories)) < len(categories):
            raise UserError(f"two of the LMDBs have the same category: {', '.join(categories)}; rename a folder, or "
                            "use --labels none")
        self.labels = LabelSchema("class", categories) if labelled else LabelSchema()
        empty = [category for category, count in zip(categories, self.counts) if not count]
        self.remarks = (f"no images in {', '.join(empty)}",) if empty else ()
        self.name = "lsun: " + ", ".join(path.name for path in self.paths)

    def __len__(self) -> int:
        return sum(self.counts)

    def entries(self, begin: Place | None = None) -> Iterator[Entry]:
        category, key = begin or (0, "")
        for number in range(category, len(self.paths)):
            yield from self._category_entries(number, bytes.fromhex(key) if number == category else b"")

    def _category_entries(self, number: int, key: bytes) -> Iterator[Entry]:
        label = number if self.labels.kind == "class" else None
        while key is not None:
            with _cursor(self.paths[number]) as cursor:
                if not cursor.set_range(key):
                    return
                key = yield from _slice(cursor, number, label)

    def sample(self, count: int) -> list[tuple[str, Picture | Exception]]:
        """The first records of each category: LSUN's keys are hashes, so these are as good as any."""
        taken, share = [], -(-count // len(self.paths))
        for number in range(len(self.paths)):
            entries = self._category_entries(number, b"")
            taken += [(entry.key, attempt(entry.read)) for entry, _ in zip(entries, range(share))]
            entries.close()
        return taken


def _slice(cursor: lmdb.Cursor, number: int, label: int | None) -> Iterator[Entry]:
    """Yields a slice of entries from the cursor on; returns the key to resume at, or None at the end."""
    for passed, key in enumerate(cursor.iternext(keys=True, values=False)):
        if passed == _SLICE:
            return key
        yield Entry(key.decode("ascii", "backslashreplace"), label, (number, key.hex()), cursor.value)
    return None


@contextmanager
def _cursor(path: Path) -> Iterator[lmdb.Cursor]:
    environment = _open(path)
    try:
        with environment.begin() as transaction, transaction.cursor() as cursor:
            yield cursor
    except lmdb.Error as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from error
    finally:
        environment.close()


def _open(path: Path) -> lmdb.Environment:
    regular(_file_of(path))
    try:
        return lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, max_readers=1)
    except lmdb.Error as error:
        raise UserError(f"{path} cannot be opened as an LMDB ({error}); download it again") from error


def _count(path: Path) -> int:
    """Counts an LMDB's records; refuses a truncated or damaged one, as reading it would kill the process."""
    environment = _open(path)
    try:
        facts, last_page = environment.stat(), environment.info()["last_pgno"]
    finally:
        environment.close()
    file = _file_of(path)
    needed = (last_page + 1) * facts["psize"]
    if file.stat().st_size < needed:
        raise UserError(f"{file} is cut short: {file.stat().st_size:,} of {needed:,} bytes; download it again")
    if damage := damage_of_pages(file, facts["psize"]):
        raise UserError(f"{file} is damaged ({damage}); download it again")
    return facts["entries"]


def _file_of(path: Path) -> Path:
    return path / "data.mdb" if path.is_dir() else path


def _database(path: Path) -> Path:
    if path.name == "data.mdb":
        path = path.parent
    if path.is_file() and zipfile.is_zipfile(path):
        inside = [path.parent / name for name in Zip(path).names() if name.endswith("data.mdb")]
        raise UserError(f"{path} is still zipped, and an LMDB is read through a memory map, which a zip does not "
                        f"allow; run `unzip {shlex.quote(str(path))} -d {shlex.quote(str(path.parent))}` and use "
                        f"{inside[0].parent if inside else 'the unpacked folder'}")
    if path.is_dir() and not (path / "data.mdb").exists():
        inside = sorted(p.parent for p in path.glob("*/data.mdb"))
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise UserError(f"{path} has no data.mdb, so it is not an LMDB{hint}")
    if not path.exists():
        raise UserError(f"{path} does not exist")
    return path


def _category(path: Path) -> str:
    """bedroom_train_lmdb -> bedroom."""
    name = path.stem
    for suffix in ("_lmdb", "_train", "_val"):
        name = name.removesuffix(suffix)
    return name
