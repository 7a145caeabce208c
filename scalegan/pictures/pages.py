"""A page that compares runs: their recipes, evaluations, curves and last samples."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import inf
from pathlib import Path
from typing import Any

from scalegan.errors import UserError
from scalegan.metrics import results
from scalegan.pictures import charts
from scalegan.pictures.recipe_differences import differences
from scalegan.support.reading import read_bytes, read_json_lines
from scalegan.support.yaml_files import read_keys

# In every report, but not a figure to compare between runs.
_NOT_CURVES = {"images", "seconds"}


@dataclass(frozen=True)
class Seen:
    """What a page shows of a run, as read from its folder."""

    name: str
    recipe: dict[str, Any]
    reports: list[dict[str, float]]
    evaluations: list[dict[str, Any]]
    picture: Path | None


def names(paths: Sequence[Path]) -> list[str]:
    """The folders' names if they are all different, else the paths."""
    own = [path.resolve().name for path in paths]
    return own if len(set(own)) == len(own) else [str(path) for path in paths]


def read(path: Path, name: str) -> Seen:
    """Reads a run from its folder. Raises UserError if `path` is not one."""
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run folder: it has no config.yaml")
    newest = max(path.glob("config*.yaml"), key=_first_images)
    pictures = sorted(p for p in (path / "samples").glob("*.png") if re.fullmatch("[0-9]{1,15}", p.stem))
    return Seen(name, read_keys(newest), _reports(path / "metrics.jsonl"), results.read(path),
                pictures[-1] if pictures else None)


def _first_images(path: Path) -> int:
    """The images from which on a config.<images>.yaml applies; -1 for config.yaml."""
    part = path.name.split(".")[1]
    return int(part) if re.fullmatch("[0-9]{1,15}", part) else -1


def _reports(path: Path) -> list[dict[str, float]]:
    """The figures in the complete lines of metrics.jsonl; while a run is writing, the last one may be incomplete."""
    rows = [{key: value for key, value in row.items() if _is_number(value)} for row in read_json_lines(path)]
    return [row for row in rows if type(row.get("images")) is int and row["images"] >= 0]


def _is_number(value: Any) -> bool:
    """Whether a value is a number that can be drawn; others are too large for that. Charts leave out NaN and inf."""
    return (type(value) in (int, float) and abs(value) < 1e100) or value in (inf, -inf) or value != value


def comparable_evaluations(runs: Sequence[Seen]) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """By run, its newest evaluation that is comparable with one of the first evaluated run's, the newest of those that
    most runs are comparable with; or why there is none."""
    evaluated = (number for number, run in enumerate(runs) if any(map(results.can_be_compared, run.evaluations)))
    first = next(evaluated, None)
    if first is None:
        return {}, {}
    anchors = filter(results.can_be_compared, reversed(runs[first].evaluations))
    return max((_comparable_with(first, anchor, runs) for anchor in anchors), key=lambda found: len(found[0]))


def _comparable_with(first: int, anchor: dict[str, Any],
                     runs: Sequence[Seen]) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The same for one evaluation of the first evaluated run."""
    chosen = {first: anchor}
    refused: dict[int, str] = {}
    for number, run in list(enumerate(runs))[first + 1 :]:
        for result in filter(results.can_be_compared, reversed(run.evaluations)):
            reason = results.why_not_comparable(anchor, result)
            if reason is None:
                chosen[number] = result
                break
            refused.setdefault(number, f"{runs[first].name} and {run.name}: {reason}")
    return chosen, {number: reason for number, reason in refused.items() if number not in chosen}


# --- the page -------------------------------------------------------------------------------------------------------


_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; color: #222;
       overflow-wrap: anywhere; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 1.8em; }
table { border-collapse: collapse; } th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd; }
td { overflow-wrap: normal; } th { min-width: 3.5em; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: #fff; }
.scroll { overflow-x: auto; } .flow { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; }
.samples { display: grid; gap: 1em; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); }
figcaption { margin-bottom: .3em; } img { max-width: 100%; border: 1px solid #ddd; box-sizing: border-box; }
summary { margin: 1em 0 .5em; cursor: pointer; }
svg { background: #fff; max-width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #444; }
svg text.title { font-weight: 600; font-size: 12px; fill: #222; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: #e6e6e6; } svg polyline { fill: none; stroke-width: 1.6; }
.key { display: inline-block; width: 22px; height: 8px; margin-right: .4em; } .refused { color: #a00; }
.name { display: inline-block; margin-right: 1em; } th .name { margin: 0; }
@media (max-width: 600px) { th, td { padding: .25em .3em; font-size: 12px; } }
"""


def page(runs: Sequence[Seen], chosen: dict[int, dict[str, Any]], refused: dict[int, str]) -> str:
    """The whole page as HTML."""
    title = ", ".join(run.name for run in runs)
    sections = [_pictures(runs), _evaluations(runs, chosen, refused), _runs_table(runs), _curves(runs, set(refused))]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' \
           f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    body = "\n".join([f"<h1>{escape(title)}</h1>", *sections])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _runs_table(runs: Sequence[Seen]) -> str:
    """How far each run has come, the recipe keys that differ and matter, and, folded, the others that differ."""
    found = list(differences([run.recipe for run in runs]))
    lasts = [run.reports[-1] if run.reports else {} for run in runs]
    rows = [["images", *(f"{last['images']:,}" if last else "none" for last in lasts)],
            ["hours", *(f"{last['seconds'] / 3600:.2f}" if "seconds" in last else "" for last in lasts)]]
    rows += [[each.key, *each.values] for each in found if each.matters]
    table = f"<h2>Runs</h2>{_table(_legend(runs), rows)}"
    others = [[each.key, *each.values] for each in found if not each.matters]
    if not others:
        return table
    keys = "1 more key differs" if len(others) == 1 else f"{len(others)} more keys differ"
    return f"{table}<details><summary>{keys}: of parts that only some of the runs have, of reports, storage or the " \
           f"machine</summary>{_table(_legend(runs), others)}</details>"


def _evaluations(runs: Sequence[Seen], chosen: dict[int, dict[str, Any]], refused: dict[int, str]) -> str:
    if not chosen:
        return ""
    shown = [runs[number] for number in chosen]
    figures = [_flattened(result["metrics"]) for result in chosen.values()]
    keys = dict.fromkeys(key for found in figures for key in found)
    rows = [["images", *(f"{result['images']:,}" if "images" in result else "" for result in chosen.values())]]
    if any(result.get("ema") for result in chosen.values()):
        rows += [["average", *(result.get("ema") or "main" for result in chosen.values())]]
    rows += [[key, *(_figure(found.get(key)) for found in figures)] for key in keys]
    one = next(iter(chosen.values()))
    note = (f"{one['extractor']['name']}, resize {one['resize']}, {one['num_samples']:,} samples against "
            f"{one['data']['path'] if one['data'] else 'no data'}")
    table = f"<h2>Evaluations</h2>{_table([escape(run.name) for run in shown], rows)}"
    lines = "".join(f'<p class="refused">Not side by side: {escape(line)}</p>' for line in refused.values())
    return f"{table}<p>{escape(note)}</p>{lines}"


def _pictures(runs: Sequence[Seen]) -> str:
    figures = []
    for run in runs:
        if run.picture:
            data = base64.b64encode(read_bytes(run.picture)).decode()
            figures.append(f"<figure><figcaption>{escape(run.name)}, {int(run.picture.stem):,} images</figcaption>"
                           f'<img alt="samples of {escape(run.name)}" src="data:image/png;base64,{data}"></figure>')
    return f'<h2>Samples</h2><div class="samples">{"".join(figures)}</div>' if figures else ""


def _curves(runs: Sequence[Seen], refused: set[int]) -> str:
    """A chart for every figure that all reporting runs have; evaluations that are not comparable are left out."""
    reporting = {number: run for number, run in enumerate(runs) if run.reports}
    shared = None
    for run in reporting.values():
        own = {key: None for row in run.reports for key, value in row.items() if isinstance(value, int | float)}
        shared = own if shared is None else {key: None for key in shared if key in own}
    drawn = []
    for key in (k for k in shared or () if k not in _NOT_CURVES):
        among = {n: run for n, run in reporting.items() if not (key.startswith("eval/") and n in refused)}
        drawn.append(charts.chart(key, {number: [(row["images"], row[key]) for row in run.reports if key in row]
                                        for number, run in among.items()}))
    if not drawn:
        return ""
    legend = " ".join(_legend(runs))
    return f'<h2>Curves</h2><p>{legend}</p><div class="flow">{"".join(drawn)}</div>'


def _legend(runs: Sequence[Seen]) -> list[str]:
    """The runs' names, each after a line in the colour and dashes of its curve."""
    entries = []
    for number, run in enumerate(runs):
        colour, dash = charts.style(number)
        entries.append(f'<span class="name"><svg class="key" viewBox="0 0 22 8"><polyline points="0,4 22,4" '
                       f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/></svg>{escape(run.name)}</span>')
    return entries


def _table(runs: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """`runs` are the columns' heads, as HTML; rows are texts, the first of which is a key."""
    lines = ["".join(f"<th>{cell}</th>" for cell in ("", *runs))]
    lines += [f"<td>{_breakable(key, './_')}</td>" + "".join(f"<td>{_breakable(cell, '/_')}</td>" for cell in cells)
              for key, *cells in rows]
    return f'<div class="scroll"><table><tr>{"</tr><tr>".join(lines)}</tr></table></div>'


def _breakable(text: str, after: str) -> str:
    """HTML of a text that a narrow column may break after some characters, but not in a number."""
    return re.sub(f"([{re.escape(after)}])(?=[^0-9])", r"\1<wbr>", escape(text))


def _flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a tree, by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "" if value is None else str(value)
