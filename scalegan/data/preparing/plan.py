"""Plans the shards of a source before any image is read: which records each one holds, and where they begin.

Takes one pass over the keys and keeps only the place where each shard begins, so LSUN's three million records cost no
memory, and any process can write any shard at any time, with the same bytes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from scalegan.data.preparing.sources.base import Entry, Place, Source
from scalegan.errors import UsageError, UserError
from scalegan.support.keys import key_of

SHARD_BYTES = 64 << 20
# Even a small set is cut into about this many shards, to keep all cores busy to the end and batches well mixed.
MIN_SHARDS = 64


@dataclass(frozen=True)
class Span:
    """One shard's records: the first `records` entries of `subset`, from `begin` on in the source."""

    subset: str         # "", "train" or "val"
    number: int
    first: int          # number of records of the subset before these
    begin: Place
    records: int

    @property
    def name(self) -> str:
        return f"{self.number:06d}.tar"


@dataclass
class Plan:
    """All spans, in order of subset and number, and a hash of their keys and labels."""

    spans: list[Span] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def total(self) -> int:
        return sum(self.records.values())


def shard_records(records: int, record_bytes: float) -> int:
    """Records per shard: about 64 MB, or fewer for about 64 shards; a multiple of the usual block of 32 records, so
    that shard boundaries do not change the order of a run."""
    chosen = max(1, min(int(SHARD_BYTES / record_bytes), -(-records // MIN_SHARDS)))
    step = 256 if chosen >= 1024 else 32
    return -(-chosen // step) * step


def subset_of(key: str, validation: float) -> str:
    """Which subset a record belongs to, by a hash of its key, so that it stays there when the source grows."""
    if not validation:
        return ""
    return "val" if key_of("validation", key) < validation * 2**64 else "train"


def cut(source: Source, per_shard: int, validation: float) -> Plan:
    """Plans shards of `per_shard` records each; the last of a subset gets the rest.

    Raises:
        UserError: if the source does not hold as many records as it reports, or a subset gets none.
    """
    begins: dict[str, list[Place]] = {subset: [] for subset in (("train", "val") if validation else ("",))}
    counts = dict.fromkeys(begins, 0)
    hasher = hashlib.sha256()
    for entry in source.entries():
        label = entry.label if entry.label is None or isinstance(entry.label, int) else entry.label.tolist()
        person = "" if entry.person is None else f"\0{entry.person}"
        hasher.update(f"{entry.key}\0{label}{person}\n".encode(errors="surrogateescape"))
        subset = subset_of(entry.key, validation)
        if counts[subset] % per_shard == 0:
            begins[subset].append(entry.place)
        counts[subset] += 1
    if sum(counts.values()) != len(source):
        raise UserError(f"{source.name} reports {len(source):,} records, but {sum(counts.values()):,} were read; "
                        "it is damaged, or changed while it was read; run the command again")
    empty = [subset for subset in counts if not counts[subset]]
    if empty:
        raise UsageError(f"--validation {validation:g} of {len(source):,} records leaves none for {empty[0]}; use "
                        "another fraction, or none")
    spans = [Span(subset, number, number * per_shard, begin, min(per_shard, counts[subset] - number * per_shard))
             for subset, places in begins.items() for number, begin in enumerate(places)]
    return Plan(spans, counts, hasher.hexdigest())


def entries_of(source: Source, span: Span, validation: float) -> Iterator[Entry]:
    """The entries of one span, lazily."""
    entries = source.entries(span.begin)
    mine = (entry for entry in entries if subset_of(entry.key, validation) == span.subset)
    yield from islice(mine, span.records)
    entries.close()
