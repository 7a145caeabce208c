"""What several runs have in common and what not: evaluations that may be compared, and the keys of their recipes."""

from collections.abc import Sequence
from typing import Any

from scalegan.metrics import results
from scalegan.monitor.figures import flattened
from scalegan.monitor.recipe_differences import differences
from scalegan.monitor.run import Run

Result = dict[str, Any]


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """For JSON: the keys in which recipes differ, and evaluations that may be laid over each other, by run."""
    keys = [{"key": each.key, "matters": each.matters, "values": dict(zip((run.id for run in runs), each.values))}
            for each in differences([run.recipe for run in runs])]
    chosen, refused = comparable(runs)
    one = next(iter(chosen.values()), [None])[-1]
    note = one and (f"{one['extractor']['name']}, resize {one['resize']}, {one['num_samples']:,} samples against "
                    f"{one['data']['path'] if one['data'] else 'no data'}")
    return {"differences": keys, "note": note, "refused": {runs[number].id: line for number, line in refused.items()},
            "evaluations": {runs[number].id: list(map(_shown, found)) for number, found in chosen.items()}}


def comparable(runs: Sequence[Run]) -> tuple[dict[int, list[Result]], dict[int, str]]:
    """By run, its evaluations that were made in the way that most runs share, and so may be compared; oldest first. For
    the other evaluated runs, why there is none."""
    kinds: list[tuple[int, Result]] = []        # run and evaluation of each way in which any was made, the newest first
    for number, run in enumerate(runs):
        for result in filter(results.can_be_compared, reversed(run.evaluations)):
            if all(results.why_not_comparable(known, result) for _, known in kinds):
                kinds.append((number, result))
    return max((_comparable_with(first, anchor, runs) for first, anchor in kinds), key=lambda found: len(found[0]),
               default=({}, {}))


def _comparable_with(first: int, anchor: Result,
                     runs: Sequence[Run]) -> tuple[dict[int, list[Result]], dict[int, str]]:
    """The same for one way, that of an evaluation of run `first`."""
    chosen: dict[int, list[Result]] = {}
    refused: dict[int, str] = {}
    for number, run in enumerate(runs):
        for result in filter(results.can_be_compared, run.evaluations):
            reason = results.why_not_comparable(anchor, result)
            if reason is None:
                chosen.setdefault(number, []).append(result)
            else:       # that of the newest is told
                refused[number] = f"{runs[first].name} and {run.name}: {reason}"
    return chosen, {number: reason for number, reason in refused.items() if number not in chosen}


def _shown(result: Result) -> dict[str, Any]:
    """An evaluation's figures and their errors: those over resampled sets, else the deviation that KID and IS have."""
    figures = flattened(result["metrics"])
    errors = {key: figures[f"{key}_std"] for key in figures if f"{key}_std" in figures}
    if isinstance(result.get("standard_errors"), dict):
        errors |= flattened(result["standard_errors"])
    return {"images": result.get("images"), "average": results.drawn_from(result),
            "figures": {key: value for key, value in figures.items() if not key.endswith("_std")},
            "errors": {key: value for key, value in errors.items() if key in figures}}
