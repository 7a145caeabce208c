"""The page that compares runs."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import cli

from scalegan.commands.compare import main
from scalegan.errors import UserError
from scalegan.metrics import results
from scalegan.pictures import charts, pages
from scalegan.pictures.recipe_differences import differences

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def make_run(folder: Path, lr: float, rows: list[dict], evaluations: list[dict] = ()) -> Path:
    """A run folder as training and evaluating leave it."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"run_dir: {folder.name}\nseed: 0\noptimizer: {{D: {{lr: {lr}}}}}\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in (("000000000000", b"older"), ("000000001000", PNG)):
        (folder / "samples" / f"{name}.png").write_bytes(content)
    for result in evaluations:
        results.append(folder, result)
    return folder


def curve(**figures: float) -> list[dict]:
    return [{"images": images, "seconds": images / 10, **{key: value * images for key, value in figures.items()}}
            for images in (100, 500, 1000)]


def result(fd: float, **changed: object) -> dict:
    """An evaluation, with the given settings changed."""
    return {"metrics": {"fd": fd, "kid": {"mean": fd / 100}}, "resize": changed.get("resize", "clean"),
            "num_samples": changed.get("num_samples", 2000), "warnings": [], "constants": {}, "images": int(fd * 1000),
            "ema": changed.get("ema"),
            "extractor": {"name": changed.get("extractor", "efflite0"), "sha256": "a" * 64, "official": True},
            "data": {"path": "faces", "content": changed.get("content", "c" * 64), "num_images": 500}}


class Page(HTMLParser):
    """What a page refers to, and its cells and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / "one", 1e-3, curve(**{"loss/D/real": 1.0, "only": 1.0}), [result(30.0), result(20.0)]),
            make_run(tmp_path / "two <&>", 2e-3, curve(**{"loss/D/real": 2.0}), [result(25.0)])]


def svgs(text: str) -> dict[str, ElementTree.Element]:
    """Charts by title; every one must be well-formed."""
    found = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg viewBox=.*?</svg>", text)]
    return {svg.find("text[@class='title']").text: svg for svg in found if svg.find("text[@class='title']") is not None}


def test_a_page_needs_nothing_else(runs: list[Path], tmp_path: Path) -> None:
    done = cli("compare", *runs, "--out", tmp_path / "deep" / "page.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "deep" / "page.html").read_text()
    assert done.stdout.strip() == str((tmp_path / "deep" / "page.html").resolve())
    page = Page(text)
    assert page.links == [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"] * 2  # the newest of each run
    assert "http" not in text and not {"script", "link", "iframe"} & set(page.tags)
    assert "two &lt;&amp;&gt;" in text and "two <&>" not in text


def test_torch_is_not_imported(runs: list[Path], tmp_path: Path) -> None:
    import subprocess
    import sys

    code = ("import sys; from scalegan.commands.compare import main; main(sys.argv[1:]); "
            "sys.exit('torch' in sys.modules)")
    arguments = [sys.executable, "-c", code, *map(str, runs), "--out", str(tmp_path / "page.html")]
    assert subprocess.run(arguments, capture_output=True, timeout=60).returncode == 0


def test_curves_show_what_all_runs_report_over_images(runs: list[Path], tmp_path: Path) -> None:
    seen = [pages.read(path, path.name) for path in runs]
    drawn = svgs(pages.page(seen, {}, {}))
    assert drawn.keys() == {"loss/D/real"}
    lines = [[tuple(map(float, point.split(","))) for point in line.get("points").split()]
             for line in drawn["loss/D/real"].findall("polyline")]
    assert [len(line) for line in lines] == [3, 3]
    for line, slope in zip(lines, (1.0, 2.0)):
        assert [x for x, _ in line] == pytest.approx([lines[0][0][0], lines[0][1][0], lines[0][2][0]])
        (x0, y0), (x1, _), (x2, y2) = line
        assert (x1 - x0) / (x2 - x0) == pytest.approx(400 / 900, abs=1e-2)  # x is images, not reports
        assert (y0 - y2) == pytest.approx(slope * (lines[0][0][1] - lines[0][2][1]), abs=0.3)
    assert "only" in svgs(pages.page(seen[:1], {}, {}))


def rows(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """The cells of the page's rows, by key: those that one sees, and those that are folded."""
    seen, _, folded = re.sub("<wbr>", "", text).partition("<details>")
    return tuple([re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(<td>.*?)</tr>", part)]
                 for part in (seen, folded.partition("</details>")[0]))


def test_only_differing_recipe_keys_are_shown(runs: list[Path]) -> None:
    text = pages.page([pages.read(path, path.name) for path in runs], {}, {})
    shown, folded = rows(text)
    assert ["optimizer.D.lr", "0.001", "0.002"] in shown and not folded
    assert "<td>seed</td>" not in text and "run_dir" not in text


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


def test_the_page_begins_with_samples_and_fits_a_phone(runs: list[Path]) -> None:
    seen = [pages.read(path, path.name) for path in runs]
    text = pages.page(seen, *pages.comparable_evaluations(seen))
    assert re.findall("<h2>(.*?)</h2>", text) == ["Samples", "Evaluations", "Runs", "Curves"]
    assert 'name="viewport" content="width=device-width' in text
    assert text.count('<div class="scroll"><table>') == text.count("<table>") > 0
    style = text.partition("<style>")[2].partition("</style>")[0]
    for wide in ("img", "svg"):     # has a width of its own in pixels
        assert re.search(rf"(?m)(^|}} ){wide} {{[^}}]*max-width: 100%", style), wide


def test_the_evaluations_that_most_runs_share_are_compared(tmp_path: Path) -> None:
    """Also if the first run was evaluated another way since."""
    runs = [make_run(tmp_path / name, 1e-3, curve(loss=1.0), evaluations) for name, evaluations in {
        "one": [result(20.0), result(7.0, num_samples=5000)], "two": [result(30.0)], "three": [result(40.0)]}.items()]
    beside, refused = pages.comparable_evaluations([pages.read(path, path.name) for path in runs])
    assert [found["metrics"]["fd"] for found in beside.values()] == [20.0, 30.0, 40.0] and refused == {}


def test_newest_evaluations_stand_side_by_side(runs: list[Path]) -> None:
    seen = [pages.read(path, path.name) for path in runs]
    beside, refused = pages.comparable_evaluations(seen)
    assert refused == {} and [found["metrics"]["fd"] for found in beside.values()] == [20.0, 25.0]
    text = pages.page(seen, beside, refused)
    assert "<td>fd</td><td>20</td><td>25</td>" in text and ["kid.mean", "0.2", "0.25"] in rows(text)[0]
    assert "<td>images</td><td>20,000</td><td>25,000</td>" in text and "<td>average</td>" not in text
    assert "efflite0, resize clean, 2,000 samples against faces" in text


def test_the_average_of_an_evaluation_is_shown(tmp_path: Path) -> None:
    seen = [pages.read(make_run(tmp_path / name, 1e-3, curve(loss=1.0), [result(20.0, ema=ema)]), name)
            for name, ema in (("one", "short"), ("two", None))]
    assert "<td>average</td><td>short</td><td>main</td>" in pages.page(seen, *pages.comparable_evaluations(seen))


@pytest.mark.parametrize("changed", [{"extractor": "inception"}, {"resize": "tf1-bilinear"}, {"content": "d" * 64},
                                     {"num_samples": 5000}], ids=lambda changed: next(iter(changed)))
def test_what_cannot_be_compared_is_refused(changed: dict, runs: list[Path], tmp_path: Path) -> None:
    """The page and the terminal say so, and its curves are not drawn with the others."""
    rows = [{**row, "eval/fd": 3.0} for row in curve(**{"loss/D/real": 1.0})]
    other = make_run(tmp_path / "other", 1e-3, rows, [result(1.0, **changed)])
    first = make_run(tmp_path / "first", 1e-3, rows, [result(20.0)])
    done = cli("compare", first, runs[0], other, "--out", tmp_path / "page.html")
    assert done.returncode == 0
    text = (tmp_path / "page.html").read_text()
    assert re.search(r"not side by side: first and other: .* differ", done.stderr)
    assert re.search(r"Not side by side: first and other: .* differ", text)
    assert "<td>fd</td><td>20</td><td>20</td></tr>" in text
    seen = [pages.read(path, path.name) for path in (first, other)]
    assert len(svgs(pages.page(seen, *pages.comparable_evaluations(seen)))["eval/fd"].findall("polyline")) == 1


def test_an_older_evaluation_that_may_be_compared_is_taken(tmp_path: Path) -> None:
    rows = curve(loss=1.0)
    one = make_run(tmp_path / "one", 1e-3, rows, [result(20.0)])
    two = make_run(tmp_path / "two", 1e-3, rows, [result(30.0), result(7.0, resize="tf1-bilinear")])
    beside, refused = pages.comparable_evaluations([pages.read(path, path.name) for path in (one, two)])
    assert beside[1]["metrics"]["fd"] == 30.0 and refused == {}


def test_a_live_run_and_infinities_do_no_harm(tmp_path: Path) -> None:
    rows = [{"images": 100, "loss": float("nan")}, {"images": 200, "loss": 1.0}, {"images": 300, "loss": float("inf")}]
    run = make_run(tmp_path / "live", 1e-3, rows)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"images": 400, "lo')
    (run / "config.200.yaml").write_text("seed: 7\n")
    seen = pages.read(run, "live")
    assert len(seen.reports) == 3 and seen.recipe == {"seed": 7}
    drawn = svgs(pages.page([seen], {}, {}))["loss"]
    assert drawn.find("circle") is not None and "nan" not in ElementTree.tostring(drawn).decode()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no config\.yaml"):
        main([str(tmp_path)])


@pytest.mark.parametrize("low, high, expected", [
    (0, 1000, [0, 200, 400, 600, 800, 1000]), (0.013, 0.042, [0.01, 0.02, 0.03, 0.04, 0.05]), (5, 5, None),
    (0, 0, None), (-3, 3, [-4, -2, 0, 2, 4]),
])
def test_ticks_are_round_and_cover_the_range(low: float, high: float, expected: list[float] | None) -> None:
    found = charts.ticks(low, high)
    assert found[0] <= low <= high <= found[-1] and len(found) >= 3
    if expected:
        assert found == pytest.approx(expected)


def test_long_curves_are_thinned_to_means() -> None:
    thinned = charts.thin([(float(i), float(i % 2)) for i in range(10_001)])
    assert len(thinned) <= 501 and thinned[-1] == (10_000.0, 0.0)
    assert all(abs(y - 0.5) < 0.1 for _, y in thinned[:-1])


@pytest.mark.parametrize("value, text", [(1_500_000, "1.5M"), (64_000, "64k"), (0.00012, "1.20e-4"), (0, "0"),
                                         (-0.25, "-0.25")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert charts.short(value) == text
