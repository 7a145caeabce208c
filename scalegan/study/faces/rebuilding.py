"""Faces rebuilt by the iterative GAN under the four losses (Ma et al., 2018, section 5.2)."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from scalegan.study.faces.bench import Bench, l1, made
from scalegan.study.faces.claims import Claim, least
from scalegan.study.faces.pictures import SHOWN, save
from scalegan.study.faces.question import Question
from scalegan.study.faces.trainings import ITERATIVE
from scalegan.study.runs import minutes_of
from scalegan.study.tables import Column, Rows

COLUMNS = {"identity": Column("identity distance", 3), "nearer": Column("nearer than another photo, %", 1),
           "l1": Column("L1", 1), "fd": Column("FD-EffLite0", 1), "minutes": Column("minutes", 1)}
ROWS = {"pixel": "pixel", "code": "code", "code_pixel": "code and pixel", "integrated": "integrated"}
OTHER = "another photo"
NOTE = "Distances of photos from their rebuildings, and from another photo. L1 is in levels of 255."


def measured(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """The figures of each row."""
    found = {ROWS[loss]: bench.kept("rebuilding", loss, seed, [name], lambda name=name: _of(bench, seed, name))
             | {"minutes": minutes_of(bench.run(name, seed))} for loss, name in ITERATIVE.items()}
    found[OTHER] = bench.kept("rebuilding", OTHER, seed, [], lambda: {
        "identity": float(bench.identity(bench.photos, another(bench.photos)).mean()),
        "l1": l1(bench.photos, another(bench.photos))})
    return found


def claims(rows: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """From the medians."""
    def of(key: str) -> dict[str, float]:
        return {name: rows[name][key] for name in ROWS.values()}

    return [least("the integrated loss keeps the person best", of("identity"), ROWS["integrated"], 3),
            least("the integrated loss gives the most natural faces", of("fd"), ROWS["integrated"], 1)]


def another(images: Tensor) -> Tensor:
    """For each image another one of the set."""
    return images.roll(1, 0)


def _of(bench: Bench, seed: int, name: str) -> dict[str, float]:
    rebuilt = made(bench.network(name, seed, "rebuild"), bench.photos)
    own, others = bench.identity(bench.photos, rebuilt), bench.identity(bench.photos, another(bench.photos))
    return {"identity": float(own.mean()), "nearer": 100 * float((own < others).float().mean()),
            "l1": l1(bench.photos, rebuilt), "fd": bench.frechet(rebuilt)}


def _draw(path: Path, bench: Bench, seed: int, rows: Rows) -> None:
    shown = bench.photos[:SHOWN]
    save(path, {"photo": shown} | {ROWS[loss]: made(bench.network(name, seed, "rebuild"), shown)
                                   for loss, name in ITERATIVE.items()})


QUESTION = Question("Rebuilding", NOTE, COLUMNS, lambda attributes: tuple(ITERATIVE.values()), measured, claims,
                    Bench.load_judges, _draw)
