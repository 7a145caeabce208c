"""A user's photos answered one after the other: what cannot be answered is named, and the others are."""

import errno
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from scalegan.data.preparing.sources.survey import shortened
from scalegan.pictures.photos import Found, Listing
from scalegan.support.arguments import report, warn
from scalegan.support.progress import Bar

# Why the result of one photo cannot be written where others can.
_IN_THE_WAY = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True)
class Answered:
    """Which photos were answered; a line for each input that was not; and by remark, the names of the photos it is
    about."""

    photos: list[Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def report(self) -> int:
        """Prints remarks and problems, and returns the exit code."""
        for remark, names in self.remarks.items():
            warn(f"{shortened(names)}: {remark}" if names else remark)
        return report(self.problems)


def answer_all(found: Listing, out: Path, answer: Callable[[Found, Callable[[str], None]], Iterable[str]]) -> Answered:
    """Has every photo answered, with a progress bar.

    Args:
        out: the folder of the results.
        answer: writes the result of a photo and returns what users should know about it; gets a function that shows a
            note beside the bar. ValueError and MemoryError are the photo's own; an OSError is, if it is about the name
            of its result.
    """
    answered = Answered(problems=list(found.problems))
    answered.remarks.update((remark, []) for remark in found.remarks)
    with Bar("photos", len(found.photos), unit="photos") as bar:
        for one in found.photos:
            try:
                for remark in _enough_memory(answer, one, partial(bar.advance, 0)):
                    answered.remarks[remark].append(one.name)
                answered.photos.append(one)
            except (ValueError, MemoryError) as error:
                reason = str(error)
                answered.problems.append(reason if str(one.path) in reason else f"{one.name}: {reason}")
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                answered.problems.append(f"{one.name}: {out / one.result} cannot be written: {error.strerror}")
            bar.advance(1)
    return answered


def _enough_memory(answer: Callable, one: Found, said: Callable[[str], None]) -> Iterable[str]:
    try:
        return answer(one, said)
    except (MemoryError, torch.OutOfMemoryError):
        raise MemoryError("there is not enough memory for a photo of its size; reduce it first") from None
