"""Checks an LMDB's pages before the library reads them: it trusts them, and a damaged one would end the process.

Only pages of keys are read, which planning reads anyway. Values lie in pages of their own, whose places are checked.
"""

import mmap
from pathlib import Path

import numpy as np

_MAGIC = 0xBEEFC0DE
_HEAD = 16                      # bytes of a page before its list of nodes
_BRANCH, _LEAF = 1, 2           # flags of pages
_BIG = 1                        # flag of a node: its value lies in pages of its own
_META = np.dtype([("head", "V16"), ("magic", "<u4"), ("version", "<u4"), ("address", "<u8"), ("size", "<u8"),
                  ("free", "V48"), ("pad", "<u4"), ("flags", "<u2"), ("depth", "<u2"), ("pages", "<u8", 3),
                  ("entries", "<u8"), ("root", "<u8"), ("last", "<u8"), ("transaction", "<u8")])
_PAGE = np.dtype([("number", "<u8"), ("pad", "<u2"), ("flags", "<u2"), ("lower", "<u2"), ("upper", "<u2")])
_NODE = np.dtype([("low", "<u2"), ("high", "<u2"), ("flags", "<u2"), ("key", "<u2")])
_NO_ROOT = (1 << 64) - 1
_DEEPEST = 32


def damage_of_pages(path: Path, page_size: int) -> str | None:
    """What is wrong with the pages of a database without named sub-databases, or None.

    Args:
        path: data.mdb.
        page_size: in bytes, as the library reads it from the file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _Walk(content, page_size).damage()
        except ValueError as error:     # of a read beyond the end
            return str(error)


class _Walk:
    def __init__(self, content: mmap.mmap, size: int) -> None:
        self.content, self.size, self.seen, self.entries = content, size, 0, 0
        metas = [np.frombuffer(content, _META, 1, number * size)[0] for number in (0, 1)]
        self.meta = max((meta for meta in metas if meta["magic"] == _MAGIC), key=lambda meta: meta["transaction"])
        self.pages = min(len(content) // size, int(self.meta["last"]) + 1)

    def damage(self) -> str | None:
        level = [] if int(self.meta["root"]) == _NO_ROOT else [int(self.meta["root"])]
        for _ in range(_DEEPEST):
            below: list[int] = []
            for number in level:
                self.seen += 1
                if number < 2 or number >= self.pages or self.seen > self.pages:
                    return f"page {number} cannot be where it is named"
                if problem := self._check(number, below):
                    return f"page {number} {problem}"
            level = below
            if not level:
                known = int(self.meta["entries"])
                return None if self.entries == known else f"{self.entries:,} of {known:,} records are left"
        return "its tree is too deep"

    def _check(self, number: int, below: list[int]) -> str | None:
        """What is wrong with a page of keys; adds the pages that a branch names to `below`."""
        page = self.content[number * self.size : (number + 1) * self.size]
        head = np.frombuffer(page, _PAGE, 1)[0]
        kind, lower, upper = int(head["flags"]) & 0xF, int(head["lower"]), int(head["upper"])
        if int(head["number"]) != number or kind not in (_BRANCH, _LEAF):
            return "is not one of keys"
        if not _HEAD < lower <= upper <= self.size:
            return "has no valid list of nodes"
        places = np.frombuffer(page, "<u2", (lower - _HEAD) // 2, _HEAD).astype(int)
        if (places < upper).any() or (places + 8 > self.size).any():
            return "has no valid list of nodes"
        nodes = np.frombuffer(page, np.uint8)[places[:, None] + np.arange(8)].copy().view(_NODE)[:, 0]
        values = places + 8 + nodes["key"]
        number_or_size = nodes["low"].astype(int) | nodes["high"].astype(int) << 16
        if kind == _BRANCH:
            below += (number_or_size | nodes["flags"].astype(int) << 32).tolist()
            return "has keys beyond its end" if (values > self.size).any() else None
        self.entries += len(places)
        big = nodes["flags"] == _BIG
        if (nodes["flags"] > _BIG).any() or (values + np.where(big, 8, number_or_size) > self.size).any():
            return "has values beyond its end"
        if not big.any():
            return None
        raw = np.frombuffer(page, np.uint8)[values[big][:, None] + np.arange(8)].copy().view("<u8")[:, 0]
        ends = raw.astype(float) * self.size + _HEAD + number_or_size[big]
        return "names values beyond the file's end" if (ends > len(self.content)).any() else None
