"""One to six attributes of a face changed at once (Ma et al., 2018, section 5.4)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scalegan.probing.changes import changes
from scalegan.study.faces.bench import Bench
from scalegan.study.faces.changers import ITERATIVE, STARGAN, changer
from scalegan.study.faces.claims import Claim
from scalegan.study.faces.pictures import SHOWN, save
from scalegan.study.faces.question import Question
from scalegan.study.faces.trainings import INTEGRATED
from scalegan.study.tables import Column, Rows

COLUMNS = {"all": Column("all targets reached, %", 1), "after": Column("each, %", 1),
           "before": Column("each before, %", 1), "identity": Column("identity distance", 3),
           "others": Column("others unchanged, %", 1), "fd": Column("FD-EffLite0", 1)}
MODELS = {ITERATIVE: INTEGRATED, STARGAN: "stargan"}
_MANY = 3       # beyond which the paper says that quality falls
NOTE = ("So many of the six attributes are inverted, each equally often: of the first photo the first ones, of the "
        "next photo those from the second on, and so forth.")


def measured(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """The figures of each row."""
    return {_row(model, count): bench.kept("several", _row(model, count), seed, [training],
                                           lambda model=model, count=count: _of(bench, seed, model, count))
            for model, training in MODELS.items() for count in range(1, len(bench.attributes) + 1)}


def claims(rows: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """From the medians."""
    found = []
    for model in MODELS:
        of_model = [figures["fd"] for row, figures in rows.items() if row.startswith(model)]
        most = max(of_model[:_MANY])
        found.append(Claim(f"{model}: faces with more than three attributes changed are less natural than with one to "
                           "three", all(value > most for value in of_model[_MANY:]),
                           "FD " + ", ".join(f"{value:.1f}" for value in of_model)))
    return found


def inverted(labels: Tensor, places: list[int], count: int) -> Tensor:
    """Goals [n, K] by which `count` of some attributes are inverted, beginning with another one for each image in turn;
    the others are nan.

    Args:
        labels: 0 or 1, [n, K].
        places: of the attributes that may be inverted.
    """
    goals, rows = torch.full_like(labels, torch.nan), torch.arange(len(labels))
    for step in range(count):
        chosen = torch.tensor(places)[(rows + step) % len(places)]
        goals[rows, chosen] = 1 - labels[rows, chosen]
    return goals


def _of(bench: Bench, seed: int, model: str, count: int) -> dict[str, float]:
    goals = inverted(bench.labels, bench.places(bench.attributes), count)
    changed = changer(bench, seed, model)(bench.photos, bench.labels, goals)
    shares = changes(bench.seen_in_photos, bench.seen(changed), goals, bench.names)
    return {**{key: 100 * float(value) for key, value in shares.items()},
            "identity": float(bench.identity(bench.photos, changed).mean()), "fd": bench.frechet(changed)}


def _row(model: str, count: int) -> str:
    return f"{model}, {count}"


def _draw(path: Path, bench: Bench, seed: int, rows: Rows) -> None:
    shown = bench.photos[:SHOWN]
    labels, places, columns = bench.labels[: len(shown)], bench.places(bench.attributes), {"photo": shown}
    for model in MODELS:
        change = changer(bench, seed, model)
        columns |= {f"{model[:4]} {count}": change(shown, labels, inverted(labels, places, count))
                    for count in range(1, len(places) + 1)}
    save(path, columns)


QUESTION = Question("Several attributes at once", NOTE, COLUMNS, lambda attributes: tuple(MODELS.values()), measured,
                    claims, Bench.load_judges, _draw)
