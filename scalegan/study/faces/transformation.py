"""Faces given one attribute by CycleGAN, StarGAN and the iterative GAN (Ma et al., 2018, section 5.4)."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scalegan.probing.changes import changes
from scalegan.study.faces.attributes import TRANSFORMED
from scalegan.study.faces.bench import Bench, l1
from scalegan.study.faces.changers import CYCLEGAN, ITERATIVE, STARGAN, changer
from scalegan.study.faces.claims import Claim, greatest, least
from scalegan.study.faces.pictures import SHOWN, save
from scalegan.study.faces.question import Question
from scalegan.study.faces.trainings import INTEGRATED, cyclegan
from scalegan.study.runs import minutes_of
from scalegan.study.tables import Column, Rows

COLUMNS = {"photos": Column("photos", 0), "before": Column("seen as the target before, %", 1),
           "after": Column("after, %", 1), "identity": Column("identity distance", 3),
           "others": Column("others unchanged, %", 1), "l1": Column("L1", 1), "minutes": Column("minutes", 1)}
MODELS = (CYCLEGAN, STARGAN, ITERATIVE)
NOTE = ("Test photos without an attribute are given it. A classifier trained apart sees whether it is there, and "
        "whether the others are as before. L1 is in levels of 255. The minutes of StarGAN and of the iterative GAN are "
        "for all attributes together.")


def measured(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """The figures of each row."""
    found = {}
    for attribute in bench.attributes[:TRANSFORMED]:
        for model in MODELS:
            training = _training(model, attribute)
            found[_row(attribute, model)] = bench.kept(
                "transformation", _row(attribute, model), seed, [training],
                lambda model=model, attribute=attribute: _of(bench, seed, model, attribute)
            ) | {"minutes": minutes_of(bench.run(training, seed))}
    return found


def claims(rows: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """From the medians, with means over the attributes."""
    def of(key: str) -> dict[str, float]:
        return {model: statistics.mean(figures[key] for row, figures in rows.items() if row.endswith(model))
                for model in MODELS}

    return [greatest("the iterative GAN reaches the target most often", of("after"), ITERATIVE, 1),
            least("it keeps the person best", of("identity"), ITERATIVE, 3),
            greatest("it leaves the other attributes alone best", of("others"), ITERATIVE, 1)]


def _of(bench: Bench, seed: int, model: str, attribute: str) -> dict[str, float]:
    place = bench.names.index(attribute)
    without = bench.labels[:, place] == 0
    photos, labels, goals = bench.photos[without], bench.labels[without], _goals(bench, attribute, int(without.sum()))
    changed = changer(bench, seed, model, attribute)(photos, labels, goals)
    shares = changes(bench.seen_in_photos[without], bench.seen(changed), goals, bench.names)
    return {"photos": len(photos), **{key: 100 * float(shares[key]) for key in ("before", "after", "others")},
            "identity": float(bench.identity(photos, changed).mean()), "l1": l1(photos, changed)}


def _goals(bench: Bench, attribute: str, count: int) -> Tensor:
    goals = torch.full((count, len(bench.names)), torch.nan)
    goals[:, bench.names.index(attribute)] = 1
    return goals


def _row(attribute: str, model: str) -> str:
    return f"{attribute}, {model}"


def _training(model: str, attribute: str) -> str:
    return {CYCLEGAN: cyclegan(attribute), STARGAN: "stargan", ITERATIVE: INTEGRATED}[model]


def _draw(path: Path, bench: Bench, seed: int, rows: Rows) -> None:
    shown = bench.photos[:SHOWN]
    labels, columns = bench.labels[: len(shown)], {"photo": shown}
    for attribute in bench.attributes[:TRANSFORMED]:
        for model in MODELS:
            columns[f"{attribute[:9]} {model[:4]}"] = changer(bench, seed, model, attribute)(
                shown, labels, _goals(bench, attribute, len(shown)))
    save(path, columns)


QUESTION = Question("Transformation", NOTE, COLUMNS, lambda attributes: tuple(
    _training(model, attribute) for attribute in attributes[:TRANSFORMED] for model in MODELS), measured, claims,
    Bench.load_judges, _draw)
