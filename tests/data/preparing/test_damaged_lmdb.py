"""LMDBs are checked before the library reads them: it ends the process at a damaged page."""

from pathlib import Path
from random import Random

import lmdb
import pytest
from sources_made import write_lmdb

from scalegan.data.preparing.sources.lmdb_pages import damage_of_pages
from scalegan.data.preparing.sources.lsun import Lsun
from scalegan.errors import UserError

PAGE = 4096


def made(path: Path, count: int, size: int) -> Path:
    random = Random(count)
    return write_lmdb(path, {random.randbytes(20).hex().encode(): random.randbytes(random.randint(0, size))
                             for _ in range(count)})


@pytest.mark.parametrize("count, size", [(0, 0), (1, 10), (40, 9000), (500, 100), (20_000, 60), (3000, 3000)])
def test_a_whole_one_is_accepted_whatever_its_depth(count: int, size: int, tmp_path: Path) -> None:
    path = made(tmp_path / "bedroom_lmdb", count, size)
    assert damage_of_pages(path / "data.mdb", PAGE) is None
    assert len(Lsun([path])) == count == len(list(Lsun([path]).entries()))


def test_one_that_was_changed_is_accepted(tmp_path: Path) -> None:
    path = made(tmp_path / "bedroom_lmdb", 2000, 3000)
    environment = lmdb.open(str(path), map_size=1 << 28)
    for step in range(3):
        with environment.begin(write=True) as transaction:
            keys = list(transaction.cursor().iternext(values=False))
            for key in keys[step::4]:
                transaction.delete(key)
            transaction.put(b"x" * (step + 1), bytes(9000))
    environment.close()
    assert damage_of_pages(path / "data.mdb", PAGE) is None


def test_every_page_of_keys_that_is_zeroed_is_noticed(tmp_path: Path) -> None:
    path = made(tmp_path / "bedroom_lmdb", 3000, 60) / "data.mdb"
    whole, noticed = path.read_bytes(), 0
    for number in range(2, len(whole) // PAGE):
        path.write_bytes(whole[: number * PAGE] + bytes(PAGE) + whole[(number + 1) * PAGE:])
        if damage_of_pages(path, PAGE):
            noticed += 1
            with pytest.raises(UserError, match=r"data\.mdb is damaged \(page \d+ is not one of keys\); download"):
                Lsun([path.parent])
    assert noticed > 50
