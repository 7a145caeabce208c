"""Help that teaches: groups before keys, keys on request, examples for every verb, a hint for every usual slip."""

import json
import re
import subprocess
import sys

import pytest
from harness import environment

from scalegan import __version__
from scalegan.cli import VERBS
from scalegan.config import help_pages, loading
from scalegan.errors import RecipeError

QUICK = "recipe=quickstart"


def scalegan(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "scalegan", *arguments], env=environment(), capture_output=True,
                          text=True, timeout=60)


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The help of every verb, of one process."""
    code = ("import contextlib, io, json; from importlib import import_module; from scalegan.cli import VERBS\n"
            "found = {}\n"
            "for verb, (module, _) in VERBS.items():\n"
            "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
            "        import_module(module).main(['--help'])\n"
            "    found[verb] = out.getvalue()\n"
            "print(json.dumps(found))")
    return json.loads(subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True,
                                     timeout=60, check=True).stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_two_examples(verb: str, helps: dict[str, str]) -> None:
    examples = [line for line in helps[verb].lower().split("examples:")[1].splitlines() if f" {verb} " in f"{line} "
                or "scalegan/train.py" in line]
    assert len(examples) >= 2, helps[verb]


def test_the_help_of_train_has_a_line_for_each_group_and_fits_a_screen(helps: dict[str, str]) -> None:
    text = helps["train"]
    assert all(re.search(rf"^  {group} +\S", text, re.M) for group in (
        "data", "model", "game", "streams", "optimizer", "augment", "ema", "engine", "checkpoint", "eval"))
    assert "divides batch_size (default 8)." in " ".join(text.split())     # in full, wrapped
    assert "stylegan2" in text and "model.mbstd_group" not in text
    assert len(text.splitlines()) < 60 and max(map(len, text.splitlines())) <= 120


TOPICS = {
    "game": ("game.name=infogan", "game.penalties.r1.every"), "game=unrolled": ("game.steps", "Metz"),
    "model=stylegan2": ("model.mbstd_group", "Karras"), "model.name=dcgan": ("model.norm_group",),
    "data": ("data.path",), "optimizer": ("optimizer.PLAYER.lr (default 0.0002; may be a schedule)",),
    "schedule": ("KEY.start",),
    "eval.metrics": ("eval.metrics",), "seed": ("seed (default 0)",), "all": ("model.hidden", "engine.reduction"),
}


@pytest.mark.parametrize("topic", TOPICS)
def test_help_on_request(topic: str) -> None:
    text = help_pages.page(topic)
    assert [word for word in TOPICS[topic] if word not in text] == []
    if "=" in topic:
        assert "model.width" not in text or topic.endswith("dcgan")


@pytest.mark.parametrize(("topic", "words"), [("modle", "did you mean 'model'"), ("model=stylgan", "'stylegan2'")])
def test_a_topic_that_is_not_there(topic: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        help_pages.page(topic)


def test_versions_are_printed() -> None:
    done = scalegan("--version")
    assert done.returncode == 0 and re.match(rf"scalegan {__version__}, torch \d", done.stdout)


SLIPS = {
    "a recipe's name alone": (["quickstart"], "write recipe=quickstart"),
    "auto alone": (["auto"], "write recipe=auto"),
    "a recipe's name, misspelt": (["quickstrat"], "did you mean recipe=quickstart?"),
    "an option and its value": (["--total_images", "100"], "write total_images=100"),
    "an option with a value": ([QUICK, "--total_images=100"], "write total_images=100"),
    "an option alone": ([QUICK, "--compile"], "keys have no dashes: compile=VALUE"),
    "a flag, misspelt": ([QUICK, "--print-confg"], "did you mean --print-config?"),
    "a run that is not there": (["runs/x"], "write recipe=NAME run_dir=runs/x"),
    "a folder of images": (["photos"], "write data.path=photos"),
    "a run": (["earlier"], "to resume that run, write recipe=earlier/config.yaml"),
    "a recipe's file": (["mine.yaml"], "write recipe=mine.yaml"),
    "no such key in the group": ([QUICK, "log.wandb=1"], "unknown key 'log.wandb'; `scalegan train --help` lists"),
    "a key without its group": ([QUICK, "workers=2"], "did you mean 'data.workers'?"),
    "a key of two groups": ([QUICK, "gamma=4"], "'game.penalties.r1.gamma' or 'game.penalties.r2.gamma'"),
    "a key of players": ([QUICK, "lr=1e-3"], "did you mean 'optimizer.PLAYER.lr'?"),
    "no player": ([QUICK, "optimizer.lr=1e-3"],
                  "name the player, optimizer.G.lr, or optimizer.default.lr for those not named"),
    "a value for a group": ([QUICK, "data=photos"], "data is a group of keys; see `scalegan train --help data`"),
    "braces without quotes": ([QUICK, "power_ema={every_images:", "500_000}", "seed=1"],
                              "quote it: 'power_ema={every_images: 500_000}'"),
    "letters swapped": ([QUICK, "model.widht=8"], "did you mean 'model.width'?"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_answered_with_the_right_form(slip: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "config.yaml").write_text("seed: 0")
    arguments, words = SLIPS[slip]
    with pytest.raises(RecipeError) as error:
        loading.load(arguments)
    assert words in str(error.value) and "\n" not in str(error.value)
