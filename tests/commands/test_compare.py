"""The file that compares runs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from browser import visit
from harness import cli, environment
from runs_made import curve, make_run, result

from scalegan.cluster.job_states import JobStates
from scalegan.commands.compare import main
from scalegan.errors import UserError
from scalegan.monitor.comparison import comparable, compared
from scalegan.monitor.recipe_differences import differences
from scalegan.monitor.run import Run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / "one", 1e-3, curve(**{"loss/D/real": 1.0, "only": 1.0}), [result(30.0), result(20.0)]),
            make_run(tmp_path / "two <&>", 2e-3, curve(**{"loss/D/real": 2.0}), [result(25.0)])]


def seen(*paths: Path) -> list[Run]:
    return [Run(path, path.name) for path in paths]


def inlined(page: Path) -> dict[str, Any]:
    """What a page has within it."""
    return json.loads(re.search('<script type="application/json" id="data">(.*?)</script>', page.read_text())[1])


@pytest.mark.slow
def test_a_page_needs_nothing_else(runs: list[Path], tmp_path: Path, browser: Any) -> None:
    done = cli("compare", *runs, "--out", tmp_path / "deep" / "page.html")
    assert done.returncode == 0, done.stderr
    page = tmp_path / "deep" / "page.html"
    assert done.stdout.strip() == str(page.resolve())
    for path in runs:
        path.rename(tmp_path / f"moved {path.name}")
    visited = visit(browser, page.as_uri(), 390)
    visited.page.wait_for_selector(".plot .scatterlayer .trace")
    assert visited.page.locator("#legend").inner_text().split() == ["one", "two", "<&>"]
    for tab, text in (("Samples", "1,000 images"), ("Recipes", "optimizer.D.lr"), ("Evaluations", "25 "),
                      ("Health", "Nothing to report")):
        visited.page.get_by_role("tab", name=tab).click()
        assert text in visited.page.locator("#panel").inner_text()
    assert visited.page.evaluate("document.documentElement.scrollWidth") == 390
    assert "two <&>" not in page.read_text()
    visited.check()


@pytest.mark.slow
def test_torch_is_not_imported(runs: list[Path], tmp_path: Path) -> None:
    code = ("import sys; from scalegan.commands.compare import main; main(sys.argv[1:]); "
            "sys.exit('torch' in sys.modules)")
    arguments = [sys.executable, "-c", code, *map(str, runs), "--out", str(tmp_path / "page.html")]
    assert subprocess.run(arguments, capture_output=True, timeout=60, env=environment()).returncode == 0
    curves = [each["curves"]["loss/D/real"] for each in inlined(tmp_path / "page.html")["details"].values()]
    assert curves == [[[100, 500, 1000], [100, 500, 1000]], [[100, 500, 1000], [200, 1000, 2000]]]


def test_only_differing_recipe_keys_are_shown(runs: list[Path]) -> None:
    found = compared(seen(*runs))["differences"]
    assert [(each["key"], list(each["values"].values())) for each in found] == [("optimizer.D.lr", ["0.001", "0.002"])]


RECIPES = [
    {"game": {"name": "gan", "loss": "hinge", "penalties": {"r1": None}}, "log": {"every_images": 1}, "total_images": 1,
     "augment": {"name": "ada", "p": 0.25, "pipe": {"blit": 1.0}}, "data": {"content": "0123456789abcdef" * 4}},
    {"game": {"name": "gan", "loss": "hinge", "penalties": {"r1": {"gamma": 0.5, "every": 16}}},
     "log": {"every_images": 2}, "total_images": 1_000_000, "augment": {"name": "none"}, "data": {"content": "a" * 64}},
    {"game": {"name": "infogan", "categories": 10}, "log": {"every_images": 2}, "total_images": 1,
     "augment": {"name": "none"}, "data": {"content": "a" * 64}}]


@pytest.mark.parametrize(("key", "values", "matters"), [
    ("game.name", ("gan", "gan", "infogan"), True),
    ("game.loss", ("hinge", "hinge", ""), False),
    ("game.categories", ("", "", "10"), False),
    ("game.penalties.r1", ("none", "gamma 0.5, every 16", ""), True),
    ("augment.p", ("0.25", "", ""), False),
    ("log.every_images", ("1", "2", "2"), False),
    ("total_images", ("1", "1,000,000", "1"), True),
    ("data.content", ("01234567", "aaaaaaaa", "aaaaaaaa"), True),
], ids=["the name of a part matters", "a key that only the other game lacks is folded",
        "a key of one game alone is folded", "a penalty that one of two like games has matters, whole",
        "a key of one augmentation alone is folded", "reports are folded", "long numbers have separators",
        "hashes are short"])
def test_keys_that_matter_are_told_from_others(key: str, values: tuple[str, ...], matters: bool) -> None:
    found = {each.key: (each.values, each.matters) for each in differences(RECIPES)}
    assert found[key] == (values, matters)


def test_the_evaluations_that_most_runs_share_are_compared(tmp_path: Path) -> None:
    """Also if the first run was evaluated in another way since, or in another way alone."""
    runs = [make_run(tmp_path / name, 1e-3, curve(loss=1.0), evaluations) for name, evaluations in {
        "zero": [result(3.0, extractor="inception")], "one": [result(20.0), result(7.0, num_samples=5000)],
        "two": [result(30.0)], "three": [result(40.0)]}.items()]
    beside, refused = comparable(seen(*runs))
    assert {number: found[-1]["metrics"]["fd"] for number, found in beside.items()} == {1: 20.0, 2: 30.0, 3: 40.0}
    assert list(refused) == [0] and refused[0].startswith("one and zero: extractors differ")


def test_evaluations_stand_side_by_side_with_errors(runs: list[Path], tmp_path: Path) -> None:
    """The standard errors of a bootstrap; else the deviation that KID and IS have."""
    resampled = make_run(tmp_path / "three", 1e-3, [], [result(40.0, ema="short", standard_errors={"kid": 7, "fd": 2})])
    found = compared(seen(*runs, resampled))
    assert found["note"] == "efflite0, resize clean, 2,000 samples against faces" and found["refused"] == {}
    one, two, three = found["evaluations"].values()
    assert [each["figures"] for each in one] == [{"fd": 30.0, "kid": 0.3}, {"fd": 20.0, "kid": 0.2}]
    assert (two[0]["images"], two[0]["errors"], two[0]["average"]) == (25_000, {"kid": 0.5}, "main")
    assert (three[0]["errors"], three[0]["average"]) == ({"kid": 7, "fd": 2}, "short")


def test_an_evaluation_of_other_samples_is_not_taken_for_that_of_the_run(tmp_path: Path) -> None:
    """With truncation or guidance, or of another average: it is named, and no figure of the run's row."""
    others = [{**result(2.0), "psi": 0.5, "guidance": 1.0}, {**result(3.0, ema="long"), "psi": 1.0, "guidance": 1.5}]
    run = seen(make_run(tmp_path / "one", 1e-3, curve(loss=1.0), [{**result(20.0), "psi": 1.0}, *others]))[0]
    evaluations = compared([run])["evaluations"][run.id]
    assert [each["average"] for each in evaluations] == ["main", "main, psi 0.5", "long, guidance 1.5"]
    assert run.row(JobStates())["figures"]["eval/fd"] == 20.0


@pytest.mark.parametrize("changed", [{"extractor": "inception"}, {"resize": "tf1-bilinear"}, {"content": "d" * 64},
                                     {"num_samples": 5000}], ids=lambda changed: next(iter(changed)))
def test_what_cannot_be_compared_is_refused(changed: dict, runs: list[Path], tmp_path: Path,
                                            capsys: pytest.CaptureFixture) -> None:
    """The page and the terminal say so."""
    other = make_run(tmp_path / "other", 1e-3, curve(loss=1.0), [result(1.0, **changed)])
    assert main([*map(str, (runs[0], runs[1], other)), "--out", str(tmp_path / "page.html")]) == 0
    assert re.search(r"not side by side: one and other: .* differ", capsys.readouterr().err)
    page = inlined(tmp_path / "page.html")
    (refused, why), = page["compared"]["refused"].items()
    assert refused == page["rows"][2]["id"] and re.match("one and other: .* differ", why)
    assert page["compared"]["evaluations"].keys() == {row["id"] for row in page["rows"][:2]}


def test_an_older_evaluation_that_may_be_compared_is_taken(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", 1e-3, [], [result(20.0)])
    two = make_run(tmp_path / "two", 1e-3, [], [result(30.0), result(7.0, resize="tf1-bilinear")])
    beside, refused = comparable(seen(one, two))
    assert [each["metrics"]["fd"] for each in beside[1]] == [30.0] and refused == {}


def test_a_page_of_many_pictures_has_some_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", 1e-3, [])
    for images in range(2000, 52_000, 1000):
        (run / "samples" / f"{images:012d}.png").write_bytes((run / "samples" / "000000001000.png").read_bytes())
    assert main([str(run), "--out", str(tmp_path / "page.html")]) == 0
    (pictures,) = inlined(tmp_path / "page.html")["pictures"].values()
    assert len(pictures) == 16 and max(map(int, pictures)) == 51_000


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no config\.yaml"):
        main([str(tmp_path)])
