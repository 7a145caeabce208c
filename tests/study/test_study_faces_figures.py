"""The figures of `scalegan study faces`, of models whose answers are known."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from faces_made import NAMES, Copy, Painter, Recogniser, Stubborn, images_of, labels_of, seen
from torch import Tensor, nn

from scalegan.study.faces import changers, generation, rebuilding, recognition, several, transformation
from scalegan.study.faces.bench import Bench, l1
from scalegan.study.faces.claims import greatest, least
from scalegan.study.faces.questions import QUESTIONS
from scalegan.study.faces.trainings import ITERATIVE, Plan, trainings

SIX = ("Bangs", "Eyeglasses", "Receding_Hairline", "Smiling", "Male", "Young")


@dataclass
class Photos:
    """As much of a labelled set as figures need."""

    labels: Tensor
    names: tuple[str, ...]
    images: SimpleNamespace | None = None

    def __len__(self) -> int:
        return len(self.labels)


class Known(Bench):
    """A bench whose networks are given, and whose judges look at pixels."""

    def __init__(self, out: Path, network: Callable[[str, str | None], nn.Module]) -> None:
        labels = labels_of(60)
        test = Photos(torch.from_numpy(labels).long(), NAMES)
        super().__init__(Plan(None, 0, 0, out), SIX, test, test)
        self.photos, self.networks = images_of(labels), network
        for name in trainings(SIX, 8):
            self.run(name, 0).mkdir(parents=True)
            (self.run(name, 0) / "metrics.jsonl").write_text(json.dumps({"seconds": 90.0, "images": 8}) + "\n")

    def network(self, name: str, seed: int, export: str | None = None) -> nn.Module:
        return self.networks(name, export)

    def seen(self, images: Tensor) -> Tensor:
        return seen(images)

    def frechet(self, images: Tensor) -> float:
        return l1(images, self.photos)

    def identity(self, before: Tensor, after: Tensor) -> Tensor:
        return (before.float() - after.float()).abs().mean((1, 2, 3))

    def kept(self, question: str, row: str, seed: int, names: object, make: Callable[[], dict]) -> dict:
        return make()


def of_exports(model: type[Painter]) -> Callable[[str, str | None], nn.Module]:
    """All runs have this model; CycleGAN's has no labels."""
    def network(name: str, export: str | None) -> nn.Module:
        if name.startswith("cyclegan"):
            return Copy()
        return Recogniser() if export == "recognise" else model(SIX if name == "stargan" else NAMES)
    return network


def test_figures_are_made_once_and_again_when_a_run_has_seen_more_images(tmp_path: Path) -> None:
    bench, calls = Known(tmp_path, of_exports(Painter)), []
    bench.test.images = bench.train.images = SimpleNamespace(content="the photos")

    def figure() -> float:
        return Bench.kept(bench, "rebuilding", "pixel", 0, ["dcgan"],
                          lambda: calls.append(1) or {"calls": len(calls)})["calls"]

    assert [figure(), figure()] == [1, 1]
    (bench.run("dcgan", 0) / "metrics.jsonl").write_text('{"seconds": 90.0, "images": 16}\n')
    assert [figure(), figure()] == [2, 2]


def test_a_rebuilding_that_is_the_photo_is_nearer_than_another_one_and_best(tmp_path: Path) -> None:
    shifts = dict(zip(ITERATIVE.values(), (0.5, 0.3, 0.2, 0.0)))
    rows = rebuilding.measured(Known(tmp_path, lambda name, export: Copy(shifts[name])), 0)
    assert list(rows) == ["pixel", "code", "code and pixel", "integrated", "another photo"]
    best, other = rows["integrated"], rows["another photo"]
    assert (best["identity"], best["l1"], best["nearer"], best["minutes"]) == (0, 0, 100, 1.5)
    assert other["identity"] > rows["pixel"]["identity"] > rows["code"]["identity"] > 0
    assert [claim.holds for claim in rebuilding.claims(rows)] == [True, True]
    swapped = rows | {"pixel": rows["integrated"], "integrated": rows["pixel"]}
    assert [claim.holds for claim in rebuilding.claims(swapped)] == [False, False]


@pytest.mark.parametrize("model, reached", [(Painter, 100), (Stubborn, 0)],
                         ids=["a model that does what it is told", "a model that changes nothing"])
def test_targets_are_counted_as_reached_where_they_are(model: type[Painter], reached: int, tmp_path: Path) -> None:
    bench = Known(tmp_path, of_exports(model))
    rows = transformation.measured(bench, 0)
    assert list(rows)[:4] == ["Bangs, CycleGAN", "Bangs, StarGAN", "Bangs, iterative GAN", "Eyeglasses, CycleGAN"]
    for row, figures in rows.items():
        attribute = row.partition(",")[0]
        assert figures["photos"] == int((bench.labels[:, NAMES.index(attribute)] == 0).sum())
        assert (figures["before"], figures["others"]) == (0, 100)
        assert figures["after"] == (0 if row.endswith("CycleGAN") else reached)
        assert (figures["l1"] > 0) == (figures["after"] > 0)
    at_once = several.measured(bench, 0)
    assert list(at_once)[5:7] == ["iterative GAN, 6", "StarGAN, 1"]
    assert {(figures["all"], figures["after"], figures["before"], figures["others"])
            for figures in at_once.values()} == {(reached, reached, 0, 100)}


def test_faces_that_show_what_is_asked_score_a_hundred_and_those_that_do_not_score_chance(tmp_path: Path) -> None:
    rows = generation.measured(Known(tmp_path, lambda name, export: (Stubborn if name == "cgan" else Painter)()), 0)
    assert (rows["AC-GAN"]["balanced"], rows["AC-GAN"]["agreement"], rows["AC-GAN"]["reached"]) == (100, 100, 100)
    assert rows["test photos"]["balanced"] == 100
    assert rows["CGAN"]["balanced"] == 50 and rows["CGAN"]["identity"] == 0 < rows["CGAN"]["other"]
    share = labels_of(60).mean()
    assert rows["CGAN"]["agreement"] == pytest.approx(100 * (1 - share), abs=0.01)


def test_errors_are_a_share_of_all_attributes_and_of_each(tmp_path: Path) -> None:
    bench = Known(tmp_path, of_exports(Painter))
    predicted = bench.labels.clone()
    predicted[:15, 2] = 1 - predicted[:15, 2]
    found = recognition.wrong(predicted, bench)
    assert found["hamming"] == pytest.approx(15 / 60 / len(NAMES)) and found["by_attribute"]["Male"] == 0.25
    assert recognition.wrong(torch.zeros(len(NAMES)), bench)["by_attribute"]["Bald"] == 0


@pytest.mark.parametrize("count", range(1, 7))
def test_each_of_the_six_attributes_is_inverted_equally_often(count: int) -> None:
    labels = torch.from_numpy(labels_of(60)).float()
    places = [NAMES.index(name) for name in SIX]
    asked = ~several.inverted(labels, places, count).isnan()
    assert (asked.sum(1) == count).all()
    assert asked.sum(0).tolist() == [10 * count if name in SIX else 0 for name in NAMES]
    assert torch.equal(changers.with_goals(labels, several.inverted(labels, places, count)) != labels, asked)


@pytest.mark.parametrize("fd, holds", [([5, 4, 3, 6, 7, 8], True), ([1, 2, 3, 4, 5, 2.5], False),
                                       ([1, 2, 3, 4, 5, 6], True), ([6, 5, 4, 3, 2, 1], False)],
                         ids=["worse than all of the first three", "six are better than three", "steadily worse",
                              "steadily better"])
def test_quality_falls_beyond_three_if_all_further_ones_are_worse_than_the_first_three(fd: list, holds: bool) -> None:
    rows = {f"{model}, {count + 1}": {"fd": value} for model in several.MODELS for count, value in enumerate(fd)}
    assert [claim.holds for claim in several.claims(rows)] == [holds, holds]


@pytest.mark.parametrize("values, lowest, highest", [({"own": 1.0, "a": 2.0, "b": 3.0}, True, False),
                                                     ({"own": 3.0, "a": 2.0, "b": 1.0}, False, True),
                                                     ({"own": 2.0, "a": 2.0, "b": 2.0}, False, False)],
                         ids=["least", "greatest", "equal, which is neither"])
def test_a_claim_holds_if_no_other_is_as_good(values: dict, lowest: bool, highest: bool) -> None:
    claim = least("it is least", values, "own", 1)
    assert (claim.holds, greatest("it is greatest", values, "own", 1).holds) == (lowest, highest)
    assert claim.line().startswith(f"- it is least: **{'holds' if lowest else 'does not hold'}** (own {values['own']}")


def test_every_question_needs_trainings_that_there_are_and_every_training_answers_one() -> None:
    needed = [set(question.trainings(SIX)) for question in QUESTIONS.values()]
    assert set.union(*needed) == set(trainings(SIX, 8))
