"""What the study knows of each of its questions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalegan.study.faces.bench import Bench
from scalegan.study.faces.claims import Claim
from scalegan.study.tables import Column, Rows


@dataclass(frozen=True)
class Question:
    """A question.

    Args:
        title: of its table.
        note: what the table's figures are.
        columns: of the table, by figure.
        trainings: the names of those that it needs, given the attributes that change.
        measured: the figures of each row, for a seed.
        claims: the paper's, of the medians of each row.
        check: raises UserError if a package is missing, before hours of training.
        draw: writes its picture to a path, given a seed and the rows of all seeds; None if it has none.
    """

    title: str
    note: str
    columns: Mapping[str, Column]
    trainings: Callable[[Sequence[str]], tuple[str, ...]]
    measured: Callable[[Bench, int], dict[str, dict[str, Any]]]
    claims: Callable[[Mapping[str, Mapping[str, float]]], list[Claim]]
    check: Callable[[Bench], object] = lambda bench: None
    draw: Callable[[Path, Bench, int, Rows], None] | None = None
