"""The parsers of commands, and types of their arguments, for argparse."""

import csv
import math
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import NoReturn

from scalegan.errors import UsageError, one_line
from scalegan.support.names import did_you_mean
from scalegan.support.resolution import Resolution, parse

_MOST_SEEDS = 10_000_000
_SEEDS_END = 1 << 63        # they are positions of draws, which are int64
# Endings of files that users may take a folder's name for.
_FILES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", ".svg", ".html", ".json", ".csv", ".txt", ".md", ".zip",
          ".tar", ".gz", ".tgz", ".npy", ".npz", ".safetensors", ".onnx", ".pt", ".pth", ".pkl", ".beton", ".mp4"}


class Parser(ArgumentParser):
    """Reports wrong arguments in one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {one_line(message)}; see `{self.prog} --help`", file=sys.stderr, flush=True)
        sys.exit(2)


def verb_parser(verb: str, description: str, *examples: str) -> Parser:
    """The parser of `scalegan COMMAND`, whose help ends with examples; these leave out the leading `scalegan`."""
    return Parser(prog=f"scalegan {verb}", description=description, epilog="\n".join(
        ["examples:", *(f"  scalegan {example}" for example in examples)]),
        formatter_class=RawDescriptionHelpFormatter)


def report(problems: Sequence[str]) -> int:
    """Prints a line for each of several inputs that failed, the rest being done, and returns the exit code."""
    for problem in problems:
        print(f"scalegan: error: {one_line(problem)}", file=sys.stderr, flush=True)
    return 1 if problems else 0


PREFIX = "scalegan: warning: "


def warn(line: str) -> None:
    """Prints a line that users should know of, though nothing failed."""
    print(f"{PREFIX}{one_line(line)}", file=sys.stderr, flush=True)


def whole(least: int = 0, most: int = _SEEDS_END - 1) -> Callable[[str], int]:
    """Type of a whole number within bounds, both included."""
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
            bounds = f"from {least:,} to {most:,}" if most < _SEEDS_END - 1 else f"of at least {least}"
            raise ArgumentTypeError(f"'{text}' is not a whole number {bounds}")
        return int(text)
    return parse


def positive(text: str) -> int:
    """A whole number, at least 1."""
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def resolution(text: str) -> Resolution:
    """The size of images: a side, or WIDTHxHEIGHT."""
    try:
        return parse(text)
    except ValueError as error:
        raise ArgumentTypeError(f"'{text}': {error}") from error


def finite(text: str) -> float:
    """A number, neither NaN nor infinite."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ArgumentTypeError(f"'{text}' is not a number")
    return value


def numbers(text: str) -> list[float]:
    """Numbers at commas: '0,0.5,1'."""
    return [finite(part) for part in text.split(",")]


def fraction(text: str) -> float:
    """A number from 0 up to, but not including, 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"'{text}' is not a fraction of at least 0 and below 1")
    return value


def count_or_share(text: str) -> int | float:
    """A number of things, if it is whole, as in '3'; else a share of all, as in '0.05', '5%' or '1.0', as a float."""
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text)
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ArgumentTypeError(f"'{text}' is neither a whole number, such as 3, nor a share, such as 0.05 or 5%")
    return share


def seeds(text: str) -> list[int]:
    """Whole numbers and ranges: '0-3,7' is [0, 1, 2, 3, 7]."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch("([0-9]{1,19})(?:-([0-9]{1,19}))?", part)
        if match is None:
            raise ArgumentTypeError(f"'{text}' is not of the form 0-63 or 1,5,9")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ArgumentTypeError(f"'{part}' runs backwards; write {last}-{first}")
        if last >= _SEEDS_END:
            raise ArgumentTypeError(f"{last} is too large for a seed; the largest is {_SEEDS_END - 1}")
        if len(found) + last - first >= _MOST_SEEDS:
            raise ArgumentTypeError(f"'{text}' are more than {_MOST_SEEDS:,} seeds; take fewer at a time")
        found += range(first, last + 1)
    return found


def names(text: str) -> list[str]:
    """Names or numbers at commas; a name that has a comma itself stands in double quotes."""
    found = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not all(found) or not found:
        raise ArgumentTypeError(f"'{text}' is not of the form 3,7 or cat,dog")
    return found


def label_numbers(option: str, asked: Sequence[str], count: int, known: Sequence[str], model: object,
                  kind: str = "classes") -> list[int]:
    """The numbers of classes or attributes that are asked for by number or range, or by name.

    Args:
        option: how errors call what was asked for.
        count: of the labels that the model knows.
        known: their names, in order; empty if the model does not say.
        model, kind: what errors call the model and its labels.

    Raises:
        UsageError: for one that there is not.
    """
    numbers: list[int] = []
    for name in asked:
        match = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", name)
        chosen = range(int(match[1]), int(match[2] or match[1]) + 1) if match else None
        if name in known and not (chosen and len(chosen) == 1 and chosen[-1] < count):
            chosen = range(known.index(name), known.index(name) + 1)
        if not chosen or chosen[-1] >= count:
            shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            raise UsageError(f"{option} {name}: the {kind} of {model} are 0 to {count - 1}"
                             + (f" ({shown})" if known else "" if match else "; it does not say their names")
                             + did_you_mean(name, known))
        numbers += chosen
    return numbers


def strengths(text: str) -> dict[str, float]:
    """Type of values between 0 and 1 by name, such as Smiling=1,Male=0."""
    found = {}
    for item in text.split(","):
        name, sign, value = (part.strip() for part in item.partition("="))
        if not name or not sign:
            raise ArgumentTypeError(f"'{item}' is not NAME=VALUE, such as Smiling=1")
        try:
            found[name] = float(value) if name not in found else math.nan
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] <= 1:
            raise ArgumentTypeError(f"'{item.strip()}': name each once, with a number from 0 to 1")
    return found


def presences(text: str) -> dict[str, float]:
    """The same for attributes that are there or not: 'Smiling,!Male' is Smiling=1,Male=0; with strengths too."""
    items = [item.strip() for item in text.split(",")]
    if "" in items or "!" in items:
        raise ArgumentTypeError(f"'{text}' is not of the form Smiling,!Male")
    return strengths(",".join(item if "=" in item else f"{item[1:]}=0" if item[0] == "!" else f"{item}=1"
                              for item in items))


def file_named(option: str, *formats: str) -> Callable[[str], Path]:
    """Type of a file to write, in one of the formats that the command has, such as ".gif for an animation".

    The type raises UsageError, which argparse lets through.
    """
    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in {each.split()[0] for each in formats}:
            raise UsageError(f"{option} {text}: use {' or '.join(formats)}; no other format is written")
        if path.is_dir():
            raise UsageError(f"{option} {text} is a folder; name a file in it")
        return path
    return parse


def folder(text: str) -> Path:
    """A folder to write into; one that is named like a file is a mistake."""
    path = Path(text)
    if path.suffix.lower() in _FILES and not path.is_dir():
        raise ArgumentTypeError(f"'{text}' is named like a file, but this command writes a folder; name one without "
                                f"{path.suffix}")
    if path.exists() and not path.is_dir():
        raise ArgumentTypeError(f"'{text}' is a file; name a folder")
    return path


def counts(text: str) -> list[int]:
    """Positive whole numbers: '1,8,64'."""
    parts = text.split(",")
    if not all(re.fullmatch("[0-9]{1,19}", part) and int(part) > 0 for part in parts):
        raise ArgumentTypeError(f"'{text}' is not a list of numbers such as 1,8,64")
    return [int(part) for part in parts]
