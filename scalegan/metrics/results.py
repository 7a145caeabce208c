"""Results of evaluations, and whether two of them can be compared."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, StrictBool, StrictStr
from typing_extensions import TypedDict

from scalegan.support.files import write_whole
from scalegan.support.reading import checked, or_none, read_json_lines

FILE = "evaluations.jsonl"
MAIN = "main"       # the average of the recipe's `ema`
# For other metrics, neither direction is better.
LOWER_IS_BETTER = ("fid", "fd", "kid", "class_fid", "class_fd", "ppl", "pl", "ab_l1", "cycle_l1", "cycle_l1_A",
                   "cycle_l1_B", "identity", "identity_A", "identity_B", "attribute_hamming")
HIGHER_IS_BETTER = ("is", "precision", "recall", "density", "coverage", "psnr", "ssim", "ab_histogram", "identity_kept")

_Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
_Figure = Annotated[float, Field(strict=True)]


class _Extractor(TypedDict):
    name: StrictStr
    sha256: StrictStr


class _Data(TypedDict):
    path: StrictStr
    content: NotRequired[StrictStr | None]
    num_images: NotRequired[_Count | None]


class _Result(TypedDict):
    """A line of evaluations.jsonl."""

    metrics: dict[str, _Figure | dict[str, _Figure]]
    extractor: NotRequired[_Extractor]
    resize: NotRequired[StrictStr]
    data: NotRequired[_Data | None]
    num_samples: NotRequired[_Count]
    constants: NotRequired[dict[str, Any]]
    images: NotRequired[_Count]
    ema: NotRequired[StrictStr | None]
    in_training: NotRequired[StrictBool]


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


def can_be_compared(result: Mapping[str, Any]) -> bool:
    """Whether a result says all that `comparable` needs to know."""
    return {"extractor", "resize", "data", "num_samples", "constants"} <= result.keys()


def drawn_from(result: Mapping[str, Any]) -> str:
    """Which average was evaluated, and how it was asked for samples, where not as it is: 'main', 'long, psi 0.7'."""
    asked = [f"{key} {result[key]:g}" for key in ("psi", "guidance")
             if isinstance(result.get(key), (int, float)) and result[key] != 1]
    return ", ".join([str(result.get("ema") or MAIN), *asked])


def better(name: str, value: float, than: float | None) -> bool:
    """Whether a value is better than another, or than none; False for metrics where neither direction is better."""
    if name not in LOWER_IS_BETTER + HIGHER_IS_BETTER or value != value:
        return False
    if than is None:
        return True
    return value < than if name in LOWER_IS_BETTER else value > than


def read(run: Path) -> list[dict[str, Any]]:
    """A run's evaluations, oldest first. Lines that are incomplete or damaged are left out."""
    return [row for row in read_json_lines(run / FILE) if or_none(partial(checked, row, FILE, _Result))]


def append(run: Path, result: Mapping[str, Any]) -> None:
    """Appends a result. One from training replaces those that a killed attempt left at the same point or later."""
    kept = read_json_lines(run / FILE)
    if result.get("in_training"):
        kept = [row for row in kept if not _made_in_training(row, result["images"])]
    _write(run, [*kept, result])


def remove_after(run: Path, images: int) -> None:
    """Removes the results from training after `images`, which are of an abandoned branch."""
    rows = read_json_lines(run / FILE)
    kept = [row for row in rows if not _made_in_training(row, images + 1)]
    if kept != rows:
        _write(run, kept)


def _made_in_training(row: Mapping[str, Any], since: int) -> bool:
    """Whether a result is from training, at `since` images or later."""
    return bool(row.get("in_training")) and isinstance(row.get("images"), int) and row["images"] >= since


def _write(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_whole(run / FILE, "".join(json.dumps(row) + "\n" for row in rows))
