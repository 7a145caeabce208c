"""Features of a set, computed once per image by all ranks together, in memory that does not grow with the set.

A set is split into batches of consecutive numbers, the last one padded, and rank r of W takes batches r, r + W, ...; so
an image's features depend neither on the number of ranks nor on the other images in its batch.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from scalegan.data.pixels import shown, shown_pixels
from scalegan.engines.ranks import Ranks
from scalegan.errors import SharedError
from scalegan.metrics.extractors.base import Extractor
from scalegan.metrics.gaussian import Moments
from scalegan.metrics.images import Images
from scalegan.metrics.samples import Samples
from scalegan.support.devices import double
from scalegan.support.keys import key_of

# Maximum number of vectors kept for metrics over samples (all but the Fréchet distance); 410 MB at 2,048 features.
SAMPLE_BUDGET = 50_000
_AHEAD = 3              # batches that threads prepare while the network is busy


@dataclass
class SetFeatures:
    """Features of a set.

    Args:
        moments: moments over the whole set.
        vectors, logits: [n, d] and [n, classes] on the CPU, of at most SAMPLE_BUDGET images in order of their
            numbers; None if no metric needs them. On rank 0 only.
        numbers: the numbers of those images, int64 [n].
        unreadable: why images could not be read, by number.
    """

    moments: Moments
    vectors: Tensor | None = None
    logits: Tensor | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    unreadable: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Batch:
    numbers: np.ndarray         # int64 [n], of the images that could be read
    images: Tensor | None       # [batch_size, C, H, W], starting with those n; None if n = 0
    problems: dict[int, str]


def chosen(total: int, count: int | None, purpose: str) -> np.ndarray:
    """`count` of `total` numbers, drawn at random but always the same, sorted; all of them if there are fewer."""
    if count is None or count >= total:
        return np.arange(total)
    generator = np.random.Generator(np.random.Philox(key=key_of("evaluate", purpose)))
    return np.sort(generator.choice(total, count, replace=False))


def collect(source: Images | Samples, numbers: np.ndarray, extractor: Extractor, ranks: Ranks, batch_size: int,
            keep: bool, advance: Callable[[int], None] = lambda count: None) -> SetFeatures:
    """The features of the images `numbers` of a set.

    Args:
        keep: keep vectors and logits besides the moments.
        advance: called with about the number of images that all ranks have finished since the last call.

    Raises:
        UserError: if no image could be read, or images of a folder differ in shape.
    """
    kept = numbers[chosen(len(numbers), SAMPLE_BUDGET if keep else 0, "kept")]
    starts = range(ranks.rank * batch_size, len(numbers), ranks.world_size * batch_size)
    batches = [numbers[start : start + batch_size] for start in starts]

    def share() -> tuple[Moments | None, list[_Part], dict[int, str]]:
        moments, parts, problems = None, [], {}
        for start, batch in zip(starts, _loaded(source, batches, extractor, batch_size)):
            problems |= batch.problems
            advance(min(ranks.world_size * batch_size, len(numbers) - start))
            if batch.images is None:
                continue
            found = extractor(batch.images)
            vectors = found.vectors[: len(batch.numbers)]
            moments = moments or Moments(vectors.shape[1], double(vectors[:0]).device)
            moments.add(vectors)
            rows = np.flatnonzero(np.isin(batch.numbers, kept))
            if len(rows):
                logits = None if found.logits is None else found.logits[rows].cpu()
                parts.append(_Part(batch.numbers[rows], vectors[rows].cpu(), logits))
        return moments, parts, problems

    return _joined(*ranks.run_collectively(share), source.name, ranks)


class _Part(NamedTuple):
    numbers: np.ndarray
    vectors: Tensor
    logits: Tensor | None


def _joined(moments: Moments | None, parts: list[_Part], problems: dict[int, str], name: str,
            ranks: Ranks) -> SetFeatures:
    """Combines all ranks' results: one reduction for the moments, one gather for what is kept."""
    dims = [dim for dim in ranks.all_gather(moments.dim if moments else 0) if dim]
    if not dims:
        raise SharedError(f"{name}: none of its images can be read")
    packed = (moments or Moments(dims[0])).packed()
    if ranks.world_size > 1:
        dist.all_reduce(packed, group=ranks.control)
    unreadable = {number: problem for part in ranks.all_gather(problems) for number, problem in sorted(part.items())}
    whole = SetFeatures(Moments.unpacked(packed, dims[0]), unreadable=unreadable)
    if any(ranks.all_gather(bool(parts))):
        has_logits = any(ranks.all_gather(bool(parts) and parts[0].logits is not None))
        mine = np.concatenate([part.numbers for part in parts]) if parts else np.zeros(0, np.int64)
        numbers = np.concatenate(ranks.all_gather(mine))
        order = np.argsort(numbers, kind="stable")
        whole.numbers = numbers[order]
        whole.vectors = _gathered([part.vectors for part in parts], ranks, order)
        whole.logits = _gathered([part.logits for part in parts], ranks, order) if has_logits else None
    return whole


def _gathered(parts: list[Tensor], ranks: Ranks, order: np.ndarray) -> Tensor | None:
    """All ranks' rows in `order` on rank 0, None elsewhere."""
    mine = torch.cat(parts) if parts else None
    if ranks.world_size == 1:
        return mine[torch.from_numpy(order)]
    shapes = ranks.all_gather(None if mine is None else tuple(mine.shape))
    width = next(shape[1] for shape in shapes if shape)
    counts = [shape[0] if shape else 0 for shape in shapes]
    padded = torch.zeros(max(counts), width)
    if mine is not None:
        padded[: len(mine)] = mine
    everything = [torch.empty_like(padded) for _ in counts] if ranks.is_main else None
    dist.gather(padded, everything, group=ranks.control)
    if everything is None:
        return None
    return torch.cat([part[:count] for part, count in zip(everything, counts)])[torch.from_numpy(order)]


def _loaded(source: Images | Samples, batches: list[np.ndarray], extractor: Extractor,
            batch_size: int) -> Iterator[_Batch]:
    """Full-size batches; threads read and resize ahead of the network. Pillow, libjpeg and torch release the GIL."""
    with ThreadPoolExecutor(min(16, max(2, os.cpu_count() or 2))) as pool:
        if isinstance(source, Samples):
            for numbers in batches:
                yield _drawn(source, numbers, extractor, batch_size, pool)
            return
        futures: list[list[Future]] = []
        for place, numbers in enumerate(batches):
            for ahead in batches[place + len(futures) : place + _AHEAD]:
                futures.append([pool.submit(_read, source, number, extractor) for number in ahead.tolist()])
            yield _stacked(numbers, [future.result() for future in futures.pop(0)], batch_size)


def _drawn(source: Samples, numbers: np.ndarray, extractor: Extractor, batch_size: int,
           pool: ThreadPoolExecutor) -> _Batch:
    filled = np.append(numbers, np.repeat(numbers[-1:], batch_size - len(numbers)))
    images = shown(source.draw(filled))
    if extractor.resizes_in_threads:
        pixels = images.permute(0, 2, 3, 1).cpu().numpy()
        images = torch.from_numpy(np.stack(list(pool.map(extractor.prepared, pixels)))).permute(0, 3, 1, 2)
    return _Batch(numbers, images, {})


def _read(source: Images, number: int, extractor: Extractor) -> np.ndarray | str:
    """A prepared image [H, W, C], or what is wrong with it."""
    try:
        return extractor.prepared(shown_pixels(source.read(number)))
    except (ValueError, OSError) as error:
        return f"{source.file(number)}: {error}"


def _stacked(numbers: np.ndarray, results: list[np.ndarray | str], batch_size: int) -> _Batch:
    good = [i for i, result in enumerate(results) if not isinstance(result, str)]
    problems = {int(number): found for number, found in zip(numbers, results) if isinstance(found, str)}
    if not good:
        return _Batch(numbers[:0], None, problems)
    images = np.zeros((batch_size, *results[good[0]].shape), results[good[0]].dtype)
    for row, place in enumerate(good):
        images[row] = results[place]
    return _Batch(numbers[good], torch.from_numpy(images).permute(0, 3, 1, 2), problems)
