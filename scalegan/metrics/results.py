"""Results of evaluations, and whether two of them can be compared."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalegan.support.files import write_whole

FILE = "evaluations.jsonl"
# For other metrics, neither direction is better.
LOWER_IS_BETTER = ("fid", "fd", "kid", "class_fid", "class_fd", "ppl", "pl")
HIGHER_IS_BETTER = ("is", "precision", "recall", "density", "coverage")


def why_not_comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Why two results must not be compared, in one line; None if they may be.

    Distances are comparable only for the same extractor, resize and set of real images; and for the same number of
    samples, which biases all of them except KID.
    """
    def differs(what: str, one: object, other: object) -> str:
        return f"{what} differ: {one} and {other}; evaluate both the same way"

    one, other = a["extractor"], b["extractor"]
    if (one["name"], one["sha256"]) != (other["name"], other["sha256"]):
        return differs("extractors", *(f"{e['name']} ({e['sha256'][:12]})" for e in (one, other)))
    if a["resize"] != b["resize"]:
        return differs("resizes", a["resize"], b["resize"])
    for key, what in (("content", "the data"), ("num_images", "the numbers of real images")):
        sets = [result["data"] or {"path": "no data"} for result in (a, b)]
        if sets[0].get(key) != sets[1].get(key):
            return differs(what, *(f"{each['path']} ({str(each.get(key))[:12]})" for each in sets))
    if a["num_samples"] != b["num_samples"]:
        return differs("the numbers of samples", a["num_samples"], b["num_samples"])
    for key in sorted(a["constants"].keys() & b["constants"].keys()):
        if a["constants"][key] != b["constants"][key]:
            return differs(f"the constants of {key}", a["constants"][key], b["constants"][key])
    return None


def better(name: str, value: float, than: float | None) -> bool:
    """Whether a value is better than another, or than none; False for metrics where neither direction is better."""
    if name not in LOWER_IS_BETTER + HIGHER_IS_BETTER or value != value:
        return False
    if than is None:
        return True
    return value < than if name in LOWER_IS_BETTER else value > than


def read(run: Path) -> list[dict[str, Any]]:
    """A run's evaluations, oldest first; a half-written last line is left out."""
    path = run / FILE
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def append(run: Path, result: Mapping[str, Any]) -> None:
    """Appends a result. One from training replaces those that a killed attempt left at the same point or later."""
    kept = read(run)
    if result.get("in_training"):
        kept = [row for row in kept if not row.get("in_training") or row["images"] < result["images"]]
    write_whole(run / FILE, "".join(json.dumps(row) + "\n" for row in [*kept, result]))
