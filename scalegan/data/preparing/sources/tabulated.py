"""Conditions for images, from a CSV file: classes, attributes and real numbers."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scalegan.data.captions import Captions
from scalegan.data.columns import Columns
from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed, Source
from scalegan.data.preparing.sources.captioned import file_of, names_of
from scalegan.errors import UsageError, UserError
from scalegan.support.names import did_you_mean

_FORM = "a first line of names, such as file,age,kind, and one line for each image"
_MOST_NUMBERS = 1 << 16     # of a vector


def tabulated(source: Source, path: Path) -> tuple[Source, Captions]:
    """The source with a row of the table for each image as its condition, beside the labels that it has; and all rows,
    with their vectors.

    Args:
        path: CSV; the first column names images, as captions do, the others are what `Columns` takes.

    Raises:
        UserError: if a line is not of that form, an image has no row or several, or a row no image.
    """
    if not isinstance(source, Listed):
        raise UsageError("--conditions are for images that are files; leave it out, or use --kind folder")
    columns, rows = _rows(source, path)
    names, own = _labels(source)
    if twice := sorted(set(columns) & set(names)):
        raise UserError(f"{path}: the images have a label '{twice[0]}' too; rename the column, or use --labels none")
    joined = [[*labels, *row] for labels, row in zip(own, rows)]
    try:
        encoder = Columns.fitted([*names, *columns], joined)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if encoder.dim > _MOST_NUMBERS:
        raise UserError(f"{path} makes vectors of {encoder.dim:,} numbers, more than {_MOST_NUMBERS:,}; leave out some "
                        "columns")
    captions = Captions(tuple(map(encoder.text, joined)), encoder.vectors(joined), encoder.description)
    table = np.stack([np.arange(len(rows)), np.ones(len(rows), np.int64)], 1)
    return replace(source, labels=LabelSchema("vectors", vectors=captions.digest(), dim=encoder.dim), table=table), \
        captions


def _labels(source: Listed) -> tuple[list[str], list[list[str]]]:
    """Names of the columns that the images' own labels make, and their values."""
    names, table = source.labels.names, source.table
    if source.labels.kind == "class" and len(names) > 1:
        return ["class"], [[names[number]] for number in table.tolist()]
    if source.labels.kind == "attributes":
        varied = [place for place in range(len(names)) if np.ptp(table[:, place])]
        return [names[place] for place in varied], [[str(row[place]) for place in varied] for row in table.tolist()]
    return [], [[] for _ in source.files]


def _rows(source: Listed, path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the values of each image."""
    (_, header), *lines = _lines(path)
    columns = [name.strip() for name in header[1:]]
    wrong = [name for name in columns if not name or "," in name or "=" in name or columns.count(name) > 1]
    if not columns or wrong:
        what = f"the name '{wrong[0]}' is empty, there twice, or has , or =" if wrong else "there is only one column"
        raise UserError(f"{path}, line 1: {what}; write {_FORM}")
    found: dict[str, list[str]] = {}
    known, names = set(source.files), names_of(source.files)
    for number, row in lines:
        if len(row) != len(header):
            raise UserError(f"{path}, line {number} has {len(row)} values, not {len(header)}; write {_FORM}")
        file, values = row[0].strip(), [value.strip() for value in row[1:]]
        image = file_of(file, known, names)
        if image is None:
            raise UserError(f"{path}, line {number}: {source.name} has no image {file}{did_you_mean(file, known)}; "
                            "correct or remove the line")
        if image in found:
            raise UserError(f"{path}, line {number}: {file} is there twice; remove one of the lines")
        if "" in values:
            raise UserError(f"{path}, line {number} has no value for '{columns[values.index('')]}'; write one, or "
                            "remove the image")
        if any("," in value or "=" in value for value in values):
            raise UserError(f"{path}, line {number} has a value with , or =; write it without")
        found[image] = values
    if missing := [file for file in source.files if file not in found]:
        raise UserError(f"{path} has no line for {len(missing):,} of {len(source.files):,} images, such as "
                        f"{missing[0]}; add some, or remove these images")
    return columns, [found[file] for file in source.files]


def _lines(path: Path) -> Sequence[tuple[int, list[str]]]:
    """Lines that are not empty, and their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise UserError(f"--conditions {path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--conditions {path} cannot be read ({error}); use CSV in UTF-8") from error
    if len(lines) < 2:
        raise UserError(f"--conditions {path} has no rows; write {_FORM}")
    return lines
