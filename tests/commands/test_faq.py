"""docs/faq.md: every command runs, in the page's order, on a folder of photos; every key that it names exists."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE_SECONDS, ROOT, environment
from PIL import Image

from scalegan.config import loading
from scalegan.errors import RecipeError

PAGE = (ROOT / "docs" / "faq.md").read_text()
SMALL = ("total_images=32", "batch_size=16", "lanes=4", "model.width=4", "model.norm_group=4", "data.workers=0",
         "snapshot.rows=1", "log.tensorboard=false")
FEW = ("--num-samples", "40")
# One process for all commands. Its stderr says how each ended.
RUN_ALL = """import json, sys, scalegan.cli
for arguments in json.load(sys.stdin):
    sys.argv = ["scalegan", *arguments]
    try:
        code = scalegan.cli.main()
    except SystemExit as end:
        code = end.code
    print("exit code", code, *arguments, file=sys.stderr)
"""


def commands() -> list[list[str]]:
    """The arguments of every `scalegan ...` and `torchrun ... -m scalegan.train ...` in the page's blocks."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = [word for word in shlex.split(line) if not re.match("[A-Z_]+=", word)]
            if words[0] == "torchrun":
                words = ["scalegan", "train", *words[words.index("scalegan.train") + 1:]]
            assert words[0] == "scalegan", line
            found.append(words[1:])
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(200):
        pixels = draw.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def shortened(page: list[list[str]]) -> list[list[str]]:
    """The page's commands, made short: recipes are resolved as they stand, and a first, tiny run is made for every run
    folder that later commands may name; samples are fewer."""
    todo, folders = [], set()
    for arguments in page:
        if arguments[0] != "train":
            todo.append([*arguments, *FEW] if arguments[0] == "evaluate" else arguments)
            continue
        todo.append([*arguments, "--print-config"])
        folder, = (word for word in arguments if word.startswith("run_dir="))
        if "recipe=celeba_dcgan" in arguments and folder not in folders and "resume=" not in " ".join(arguments):
            folders.add(folder)
            todo.append([*arguments, *SMALL])
    return todo


@pytest.mark.slow
def test_every_command_runs(photos: Path) -> None:
    todo = shortened(commands())
    done = subprocess.run([sys.executable, "-c", RUN_ALL], cwd=photos, input=json.dumps(todo), capture_output=True,
                          text=True, timeout=PATIENCE_SECONDS, env=environment(PYTHONPATH=str(ROOT)))
    ended = re.findall("^exit code (.*)$", done.stderr, re.MULTILINE)
    assert len(ended) == len(todo), done.stderr
    assert [line for line in ended if not line.startswith("0 ")] == [], done.stderr
    block, = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown = subprocess.run([sys.executable, "-c", f"{block}\nprint(list(images.shape))"], cwd=photos,
                           capture_output=True, text=True, timeout=60, env=environment(PYTHONPATH=str(ROOT)))
    assert shown.returncode == 0, shown.stderr
    assert f"# {shown.stdout.strip()}," in block


def refusal(arguments: list[str]) -> str:
    """Why these arguments are refused; empty if they are not."""
    try:
        loading.load(arguments)
    except RecipeError as error:
        return str(error)
    return ""


# recipe=auto is not a file; its command runs above.
@pytest.mark.parametrize("argument", sorted({*re.findall(r"`([a-z_]+(?:\.\w+)*=[^`\s]+)`", PAGE)} - {"recipe=auto"}))
def test_every_key_of_the_text_exists(argument: str) -> None:
    recipes = [argument] if argument.startswith("recipe=") else [f"recipe=celeba_{f}" for f in ("dcgan", "stylegan2")]
    assert "" in [refusal(list(dict.fromkeys([recipe, "data.path=photos", argument]))) for recipe in recipes]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?:([\w/]+\.md))?(?:#([\w-]+))?\)", PAGE))))
def test_every_link_leads_somewhere(link: tuple[str, str]) -> None:
    page, heading = link
    text = (ROOT / "docs" / page).read_text() if page else PAGE
    titles = re.findall("^#+ (.*)$", text, re.MULTILINE)
    assert not heading or heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
