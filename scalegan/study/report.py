"""The toy study's results: table.json, table.md and picture.png."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor

from scalegan.data.reading.points import SETS
from scalegan.study.training import SAMPLES, SeedDraws

_EXTENT = {"ring8": 2.8, "grid25": 5.2, "moons": 2.6, "spiral": 2.8}
_TILE, _HEAD = 150, 40  # pixels


def write(folder: Path, rows: Sequence[dict[str, Any]], samples: dict[tuple[str, str], Tensor]) -> None:
    (folder / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "table.md").write_text(as_markdown(rows))
    picture(folder / "picture.png", samples)


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Medians over the seeds, and the modes of each seed; data without modes is only in the picture."""
    lines = ["| objective | data | modes covered (median) | by seed | high quality (median) | reverse KL (median) |",
             "| --- | --- | --- | --- | --- | --- |"]
    for line in rows:
        if line["modes"] is None:
            continue
        covered, good, divergence = (statistics.median(line[key])
                                     for key in ("modes_covered", "high_quality", "reverse_kl"))
        by_seed = " ".join(map(str, line["modes_covered"]))
        lines.append(f"| {line['objective']} | {line['data']} | {covered:g} of {line['modes']} | {by_seed} | "
                     f"{good:.1%} | {divergence:.2f} |")
    return "\n".join(lines) + "\n"


def picture(path: Path, samples: dict[tuple[str, str], Tensor]) -> None:
    """One column per objective, one row per dataset: samples of the first seed (orange) over data (grey)."""
    objectives, data = (list(dict.fromkeys(cell[axis] for cell in samples)) for axis in (0, 1))
    sheet = Image.new("RGB", (len(objectives) * _TILE, _HEAD + len(data) * _TILE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, objective in enumerate(objectives):
        title = objective.replace("_", "\n", 1)
        draw.multiline_text(((column + 0.5) * _TILE, _HEAD / 2), title, "black", anchor="mm", align="center")
        for line, name in enumerate(data):
            reals = SETS[name](SeedDraws(0, f"picture/{name}", SAMPLES))
            tile = _tile(reals, samples[objective, name][0], _EXTENT[name])
            sheet.paste(tile, (column * _TILE, _HEAD + line * _TILE))
    sheet.save(path)


def _tile(reals: Tensor, fakes: Tensor, extent: float) -> Image.Image:
    """A square picture of [-extent, extent]^2, drawn at twice the size."""
    tile = Image.new("RGB", (2 * _TILE, 2 * _TILE), "white")
    draw = ImageDraw.Draw(tile)
    for points, colour in ((reals, (190, 190, 190)), (fakes, (230, 95, 0))):
        for x, y in ((points.nan_to_num(1e3).clamp(-1e3, 1e3) / extent + 1) * _TILE).tolist():
            draw.rectangle((x - 0.5, 2 * _TILE - y - 0.5, x + 0.5, 2 * _TILE - y + 0.5), fill=colour)
    draw.rectangle((0, 0, 2 * _TILE - 1, 2 * _TILE - 1), outline=(120, 120, 120))
    return tile.resize((_TILE, _TILE), Image.Resampling.BOX)
