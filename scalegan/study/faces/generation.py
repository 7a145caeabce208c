"""Faces with given attributes: CGAN, AC-GAN and the iterative GAN (Ma et al., 2018, section 5.3)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.games.sampling import latents
from scalegan.probing.changes import accuracies, changes
from scalegan.randomness import Draws
from scalegan.study.faces.attributes import TRANSFORMED
from scalegan.study.faces.bench import Bench, made
from scalegan.study.faces.changers import with_goals
from scalegan.study.faces.claims import Claim, greatest, least
from scalegan.study.faces.pictures import SHOWN, save
from scalegan.study.faces.question import Question
from scalegan.study.faces.several import inverted
from scalegan.study.faces.trainings import INTEGRATED
from scalegan.study.runs import minutes_of
from scalegan.study.tables import Column, Rows

COLUMNS = {"fd": Column("FD-EffLite0", 1), "balanced": Column("seen as asked, balanced, %", 1),
           "agreement": Column("seen as asked, %", 1), "reached": Column("one changed: reached, %", 1),
           "identity": Column("identity distance", 3), "other": Column("to another z", 3),
           "minutes": Column("minutes", 1)}
ROWS = {"CGAN": "cgan", "AC-GAN": "acgan", "iterative GAN": INTEGRATED}
OWN, PHOTOS = "iterative GAN", "test photos"
NOTE = ("Faces from random z and the attributes of the test photos. Balanced: the mean, over attributes, of the share "
        "of faces asked to have one that are seen to have it, and of those asked not to. Then one attribute is changed "
        "and z is kept: how often that is seen, and the identity distance of both faces, beside that to a face with "
        "the same attributes and another z.")


def measured(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """The figures of each row."""
    found = {row: bench.kept("generation", row, seed, [name], lambda name=name: _of(bench, seed, name))
             | {"minutes": minutes_of(bench.run(name, seed))} for row, name in ROWS.items()}
    found[PHOTOS] = bench.kept("generation", PHOTOS, seed, [], lambda: _as_asked(bench, bench.seen_in_photos))
    return found


def claims(rows: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """From the medians."""
    def of(key: str) -> dict[str, float]:
        return {name: rows[name][key] for name in ROWS}

    return [least("the iterative GAN generates the most natural faces", of("fd"), OWN, 1),
            greatest("its faces show the attributes asked for best", of("balanced"), OWN, 1),
            least("it keeps the person best when an attribute changes", of("identity"), OWN, 3)]


def one_changed(bench: Bench, labels: Tensor) -> Tensor:
    """Goals [n, K] by which one of the attributes of the question of transformation is inverted, these in turn."""
    return inverted(labels, bench.places(bench.attributes[:TRANSFORMED]), 1)


def _of(bench: Bench, seed: int, name: str) -> dict[str, float]:
    generator, labels = bench.network(name, seed), bench.labels
    z, other = (_z(generator, len(labels), purpose) for purpose in ("z", "another z"))
    faces, goals = made(generator, z, labels), one_changed(bench, labels)
    changed, seen = made(generator, z, with_goals(labels, goals)), bench.seen(faces)
    return {"fd": bench.frechet(faces), **_as_asked(bench, seen),
            "reached": 100 * float(changes(seen, bench.seen(changed), goals, bench.names)["after"]),
            "identity": float(bench.identity(faces, changed).mean()),
            "other": float(bench.identity(faces, made(generator, other, labels)).mean())}


def _z(generator: nn.Module, count: int, purpose: str) -> Tensor:
    return latents(generator, Draws(0, 0, f"study/{purpose}", torch.arange(count)))


def _as_asked(bench: Bench, seen: Tensor) -> dict[str, float]:
    return {"balanced": 100 * float(accuracies(seen.long(), bench.labels.long()).nanmean()),
            "agreement": 100 * float((seen == bench.labels.bool()).float().mean())}


def _draw(path: Path, bench: Bench, seed: int, rows: Rows) -> None:
    labels, columns = bench.labels[:SHOWN], {}
    changed = with_goals(labels, one_changed(bench, labels))
    for row, name in ROWS.items():
        generator = bench.network(name, seed)
        z = _z(generator, len(labels), "z")
        columns |= {row: made(generator, z, labels), f"one {row}": made(generator, z, changed)}
    save(path, columns)


QUESTION = Question("Generation", NOTE, COLUMNS, lambda attributes: tuple(ROWS.values()), measured, claims,
                    Bench.load_judges, _draw)
