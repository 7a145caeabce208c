"""A study's figures as a table: medians over the seeds, with the least and the greatest value of several."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Figures = Mapping[str, Any]
Rows = Mapping[str, Sequence[Figures]]      # of each row, the figures of every seed


class Column(NamedTuple):
    """A figure's heading, and the digits behind its point."""

    head: str
    digits: int


def as_markdown(rows: Rows, columns: Mapping[str, Column]) -> str:
    """A line for each row, with gaps where nothing was measured."""
    lines = ["| | " + " | ".join(column.head for column in columns.values()) + " |",
             "| --- " * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(_cell(of_seeds, key, column.digits) for key, column in columns.items()) + " |"
              for name, of_seeds in rows.items()]
    return "\n".join(lines) + "\n"


def medians(of_seeds: Sequence[Figures]) -> dict[str, float]:
    """Each figure's median over the seeds; what is not a number, such as figures by attribute, is left out."""
    return {key: statistics.median(figures[key] for figures in of_seeds) for key, value in of_seeds[0].items()
            if isinstance(value, int | float)}


def _cell(of_seeds: Sequence[Figures], key: str, digits: int) -> str:
    if key not in of_seeds[0]:
        return ""
    values = [figures[key] for figures in of_seeds]
    median, *ends = (f"{found(values):.{digits}f}" for found in (statistics.median, min, max))
    return f"{median} ({' to '.join(ends)})" if len(values) > 1 else median
