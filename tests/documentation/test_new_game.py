"""docs/tutorials/write_a_game.md: the game that it writes is made as it says, in a copy of the package, and works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import PATIENCE_SECONDS, ROOT, digest, environment, make_set, reports
from PIL import Image

PAGE = (ROOT / "docs" / "tutorials" / "write_a_game.md").read_text()
PACKED, PLAIN = (command.split() for command in re.findall(
    r"^scalegan (train recipe=pacgan_ring8 run_dir=\S+.*)$", PAGE, re.MULTILINE))
SCORE, = re.findall(r"```python\n(import torch\n.*?)```", PAGE, re.DOTALL)
SHORT = ["total_images=1280", "checkpoint.every_images=640", "log.every_images=640", "engine.reduction=tree",
         "micro_batch_size=32"]
IMAGES = ["train", "recipe=celeba_dcgan", "game={name: pacgan}", "data.path=set", "data.resolution=16",
          "data.workers=0", "model.width=4", "model.norm_group=8", "batch_size=16", "micro_batch_size=16", "lanes=1",
          "total_images=32", "log.tensorboard=false", "run_dir=runs/images"]
CALLS = {
    "packed": [*PACKED, *SHORT], "plain": [*PLAIN, *SHORT],
    "half": [*PACKED, *SHORT, "run_dir=runs/stopped", "total_images=640"],
    "rest": [*PACKED, *SHORT, "run_dir=runs/stopped"],
    "images": IMAGES, "sample": ["sample", "runs/images", "--seeds", "0-3", "--out", "samples"],
    "odd": [*PACKED, *SHORT, "run_dir=runs/odd", "game.packing=3"],
}
# One process for all of them, as it takes seconds to start one.
RUN_ALL = """import json, sys
from scalegan import cli
codes = {}
for name, sys.argv[1:] in json.load(sys.stdin).items():
    codes[name] = cli.main()
print("codes", json.dumps(codes))
"""

pytestmark = pytest.mark.slow


class Ended(NamedTuple):
    folder: Path
    codes: dict[str, int]
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """What came of the page's commands in a copy of the package with the page's files and line."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("scalegan", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in re.findall(r"^\*\*`(.*?)`\*\*\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "scalegan/games/pacgan/__init__.py").touch()
    table = folder / "scalegan/games/table.py"
    line, = re.findall(r"```python\n(GAMES = \(\n.*\n)    \.\.\.", PAGE)
    table.write_text(table.read_text().replace("GAMES = (\n", line, 1))
    make_set(folder / "set", (64, 64))
    done = subprocess.run([sys.executable, "-c", RUN_ALL + SCORE], cwd=folder, input=json.dumps(CALLS), text=True,
                          capture_output=True, timeout=PATIENCE_SECONDS, env=environment(PYTHONPATH=str(folder)))
    assert done.returncode == 0, done.stderr
    codes, = re.findall("^codes (.*)$", done.stdout, re.MULTILINE)
    return Ended(folder, json.loads(codes), done.stdout, done.stderr)


def test_the_pages_commands_train_two_games(ended: Ended) -> None:
    assert (ended.codes["packed"], ended.codes["plain"]) == (0, 0)
    packed, plain = (reports(ended.folder / "runs" / name)[-1] for name in ("packed", "plain"))
    assert packed["loss/D/real"] != plain["loss/D/real"]


def test_the_score_is_printed_for_both(ended: Ended) -> None:
    assert re.findall(r"^(runs/\w+) {'modes_covered'", ended.stdout, re.MULTILINE) == ["runs/plain", "runs/packed"]


def test_a_stopped_run_ends_with_the_same_bits(ended: Ended) -> None:
    runs = ended.folder / "runs"
    assert (ended.codes["half"], ended.codes["rest"]) == (0, 0)
    assert digest(runs / "stopped") == digest(runs / "packed")


def test_it_makes_images_too(ended: Ended) -> None:
    assert (ended.codes["images"], ended.codes["sample"]) == (0, 0)
    assert len(Image.open(ended.folder / "samples" / "grid.png").getcolors(10**6)) > 100


def test_packs_must_fit_into_a_micro_batch(ended: Ended) -> None:
    assert ended.codes["odd"] == 2
    assert "game.packing" in ended.stderr
