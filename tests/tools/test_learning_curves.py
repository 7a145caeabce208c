"""Curves of losses and of sample quality, as tools/learning_curves.py draws them."""

import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import ROOT

pytestmark = pytest.mark.slow
TOOL = ROOT / "tools" / "learning_curves.py"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose critic's loss falls with kid while its generator's loss rises; reports every 10 images, a minute
    apart, and evaluations every 50."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    reports = [{"images": n, "seconds": 6.0 * n, "loss/D/real": 1 / n, "loss/D/fake": 2 / n, "loss/G/fake": float(n)}
               for n in range(10, 301, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reports))
    evaluations = [{"images": n, "metrics": {"kid": math.exp(-n / 100)}} for n in (100, 50, 150, 200, 250)]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluations))
    return folder


def drawn(*arguments: object) -> tuple[subprocess.CompletedProcess, ElementTree.Element]:
    out = next(Path(str(a)) for a in arguments if str(a).endswith(".svg"))
    done = subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done, ElementTree.fromstring(out.read_text())


def test_a_loss_that_falls_with_kid_is_told_from_one_that_rises(run: Path, tmp_path: Path) -> None:
    done, picture = drawn(run, "--figures", "kid", "loss/D/real+loss/D/fake", "loss/G/fake", "--apart", "--out",
                          tmp_path / "picture.svg")
    assert "loss/D/real+loss/D/fake against kid: +1.00" in done.stdout
    assert "loss/G/fake against kid: -1.00" in done.stdout
    titles = [text.text for text in picture.iter(f"{SVG}text") if text.text.startswith("mine")]
    assert titles == ["mine: kid", "mine: loss/D/real+loss/D/fake", "mine: loss/G/fake"]


def test_curves_are_over_minutes_and_end_where_asked(run: Path, tmp_path: Path) -> None:
    _, picture = drawn(run, "--figures", "kid", "--minutes", 20, "--out", tmp_path / "picture.svg")
    (line,) = [group for group in picture.iter(f"{SVG}g") if (group.get("id") or "").startswith("line2d")
               and group.find(f"{SVG}path") is not None and group.find(f"{SVG}path").get("d").count("L") == 3]
    xs = [float(point.split()[0]) for point in re.split("[ML]", line.find(f"{SVG}path").get("d"))[1:]]
    assert len(xs) == 4                                                     # 5, 10, 15 and 20 of 25 minutes, in order
    assert [b - a for a, b in itertools.pairwise(xs)] == pytest.approx([xs[1] - xs[0]] * 3, abs=0.2)
    assert any(text.text == "minutes" for text in picture.iter(f"{SVG}text"))


def test_what_was_neither_reported_nor_evaluated_is_told(run: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, TOOL, run, "--figures", "is", "--out", tmp_path / "picture.svg"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode and "mine has no is in metrics.jsonl or evaluations.jsonl" in done.stderr
