"""A game is a folder and one line: a toy is added to a copy of the package, and every command works with it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
import torch

from scalegan.checkpoints import store

pytestmark = pytest.mark.slow

RECIPE = """# The toy
data: {{path: "{a}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
streams:
  B: {{path: "{b}", resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 4}}
game: {{name: duet}}
optimizer: {{default: {{lr: 1e-3}}, D: {{lr: 2e-3}}}}
batch_size: 16
micro_batch_size: 4
lanes: 4
precision: fp32
total_images: 320
engine: {{reduction: tree}}
emas: {{short: {{half_life_images: 50, ramp_up: null}}}}
log: {{every_images: 80, tensorboard: false}}
snapshot: {{every_images: 160, rows: 2, columns: 3}}
checkpoint: {{every_images: 80}}
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the toy and its line in the table."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(harness.ROOT / "scalegan", folder / "scalegan", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(__file__).parent / "toys" / "duet", folder / "scalegan" / "games" / "duet")
    table = folder / "scalegan" / "games" / "table.py"
    table.write_text(table.read_text().replace('GAMES = (\n', 'GAMES = (\n    "duet",\n'))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("duet")
    a = harness.make_set(folder / "a")
    b = harness.make_set(folder / "b", (64, 64, 64, 64, 48), "png")
    path = folder / "duet.yaml"
    path.write_text(RECIPE.format(a=a, b=b))
    return path


def scalegan(house: Path, *arguments: object) -> str:
    """The output of a command."""
    done = subprocess.run([sys.executable, "-m", "scalegan", *map(str, arguments)], cwd=house, capture_output=True,
                          text=True, env=harness.environment(PYTHONPATH=str(house)), timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(house: Path, ranks: int, *arguments: object, until: Callable[[], bool] | None = None) -> None:
    """Trains on that many ranks; with `until`, kills them once it holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(ranks):
        alone = {"PYTHONPATH": str(house)}
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks,
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if ranks > 1 else {}
        processes.append(subprocess.Popen(
            [sys.executable, str(house / "scalegan" / "train.py"), *map(str, arguments)], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env=harness.environment(**alone, **{key: str(value) for key, value in group.items()})))
    if until:
        harness.wait_until(until, "it may be killed")
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert until or [process.returncode for process in processes] == [0] * ranks, "\n".join(said)


@pytest.fixture(scope="module")
def straight(house: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    train(house, 1, f"recipe={recipe}", f"run_dir={run}")
    return run


def loaded(house: Path, code: str) -> Any:
    """The value of an expression on scalegan, through JSON."""
    done = subprocess.run([sys.executable, "-c", f"import json, scalegan, torch; print(json.dumps({code}))"], cwd=house,
                          capture_output=True, text=True, env=harness.environment(PYTHONPATH=str(house)), timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_trains_as_it_says(straight: Path) -> None:
    rows = harness.reports(straight)
    assert "loss/warm/same" in rows[0] and not [key for key in rows[-1] if key.startswith("loss/warm")]
    assert {"loss/fool/read", "loss/D/fake", "grad_norm/E", "grad_norm/D"} <= rows[-1].keys()
    assert rows[-1]["loss/D/different"] == 1
    assert 0.2 < rows[-1]["loss/D/from_pool"] < 0.8          # the first batch fills 16 of 24 places, then half are old
    newest = store.complete(straight / "checkpoints")[-1]
    facts, tensors = store.metadata_of(newest), store.read(newest)
    assert facts["format"] == 2 and facts["updates"] == {"warm": 4, "fool": 16, "D": 16}
    assert int(tensors["game/pool.filled"]) == 24 and tensors["game/pool.fakes"].abs().sum() > 0
    assert not [name for name in tensors if "eye" in name]
    assert {"ema/0.weight", "ema/E/0.weight", "emas/short/E/0.weight"} <= tensors.keys()
    assert not [name for name in tensors if name.startswith("ema/D/")]
    assert {"content"} <= facts["recipe"]["streams"]["B"].keys() and len(facts["recipe"]["fixed"]["eye"]) == 64


@pytest.mark.parametrize("paired", ["false", "true"])
def test_ranks_kills_and_skipped_updates_change_no_bit(paired: str, house: Path, recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={recipe}", f"game.paired={paired}", "game.poison=[140,180]", "total_images=240"]
    train(house, 1, *common, f"run_dir={tmp_path / 'one'}")
    assert harness.reports(tmp_path / "one")[-1]["skipped/D"] > 0
    train(house, 2, *common, f"run_dir={tmp_path / 'killed'}",
          until=lambda: (tmp_path / "killed/checkpoints/000000000080/COMPLETE").exists())
    train(house, 4, *common, f"run_dir={tmp_path / 'killed'}", "total_images=160")
    train(house, 2, *common, f"run_dir={tmp_path / 'killed'}")
    assert harness.digest(tmp_path / "killed") == harness.digest(tmp_path / "one")
    assert harness.reports(tmp_path / "killed") == harness.reports(tmp_path / "one")


def test_pairs_stay_together(house: Path, recipe: Path, tmp_path: Path) -> None:
    """A and B are the same photos: with pairs, D sees as B the very images that A's translations come from."""
    code = ("[bool(torch.equal(*(batch[name].data for name in 'AB'))) for batch in __import__('duet_batches').batches("
            f"{str(recipe)!r}, {{paired}})]")
    (house / "duet_batches.py").write_text('''
from scalegan.config import loading
from scalegan.data import opening
from scalegan.data.reading.streams import Streams
from scalegan.training.batch_loader import BatchLoader, StreamSettings
import torch

def batches(recipe, paired):
    path = loading.load([f"recipe={recipe}"]).data.path
    recipe = loading.load([f"recipe={recipe}", f"game.paired={paired}", f"streams.B.path={path}"])
    sources = opening.open_sources(recipe)
    loader = BatchLoader(0, 0, 16, 0, torch.device("cpu"), {
        name: StreamSettings(True, None, source.flips_with) for name, source in sources.items()})
    streams = Streams({name: source.open(range(4), 0, False) for name, source in sources.items()})
    return [loader.prepare(streams.take()) for _ in range(4)]
''')
    assert loaded(house, code.format(paired=True)) == [True] * 4
    assert loaded(house, code.format(paired=False)) == [False] * 4


def test_every_network_leaves_in_one_file(house: Path, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "duet.safetensors"
    scalegan(house, "export", straight, "--out", out)
    x = "torch.arange(2 * 768).view(2, 3, 16, 16) / 768 - 1"
    both = loaded(house, f"[scalegan.load({str(out)!r}, n)({x}).flatten()[:20].tolist() for n in ('A_to_B', 'read')]")
    run = loaded(house, f"[scalegan.load({str(straight)!r}, n)({x}).flatten()[:20].tolist() for n in (None, 'read')]")
    assert both == run and len(both[1]) == 10
    raw = loaded(house, f"[[list(scalegan.load(p, n).state_dict().values())[0].tolist() for n in ('A_to_B', 'raw')]"
                        f" for p in ({str(out)!r}, {str(straight)!r})]")
    tensors = store.read(store.complete(straight / "checkpoints")[-1])
    assert raw[0] == raw[1] == [tensors["ema/0.weight"].tolist(), tensors["game/A_to_B.0.weight"].tolist()]
    short = loaded(house, f"scalegan.load({str(straight)!r}, 'read', 'short')({x}).flatten().tolist()")
    assert short != both[1]
    done = subprocess.run([sys.executable, "-c", f"import scalegan; scalegan.load({str(out)!r}, 'raed')"], cwd=house,
                          capture_output=True, text=True, env=harness.environment(PYTHONPATH=str(house)))
    assert "has no network 'raed'; did you mean 'read'?" in done.stderr


def test_the_other_verbs_know_it(house: Path, recipe: Path, straight: Path, tmp_path: Path) -> None:
    assert "duet" in (straight / "config.yaml").read_text()
    rows = json.loads(scalegan(house, "plan", recipe, "--gpus", "1,2", "--json"))["rows"]
    assert all(row["hours"] > 0 and row["checkpoint_bytes"] > 0 for row in rows if row["engine"] == "ddp")
    scalegan(house, "compare", straight, "--out", tmp_path / "page.html")
    measured = json.loads(scalegan(house, "evaluate", straight, "--metrics", "kid", "--num-samples", "40",
                                   "--kid-subset-size", "20", "--extractor", "efflite0"))
    assert measured["num_samples"] == 40 and measured["images"] == 320
    from PIL import Image

    picture = Image.open(straight / "samples" / "000000000320.png")
    assert picture.height > picture.width        # six rows, three columns: A, A to B, B
    done = subprocess.run([sys.executable, "-m", "scalegan", "sample", straight], cwd=house, capture_output=True,
                          text=True, env=harness.environment(PYTHONPATH=str(house)))
    assert done.returncode == 2 and re.search(r"takes image, not seeds", done.stderr)


@pytest.mark.parametrize("wrong, said", [
    ("streams.C.path=x", "no such stream"), ("optimizer.Q.lr=1", "players A_to_B, E and D"),
    ("streams.B.path=''", "streams.B.path is not given")])
def test_what_does_not_fit_is_said_in_a_line(wrong: str, said: str, house: Path, recipe: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(house / "scalegan/train.py"), f"recipe={recipe}", wrong,
                           f"run_dir={tmp_path / 'run'}"], capture_output=True, text=True,
                          env=harness.environment(PYTHONPATH=str(house)))
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_another_stream_is_another_run(house: Path, recipe: Path, straight: Path, tmp_path: Path) -> None:
    other = harness.make_set(tmp_path / "other", (64, 64))
    done = subprocess.run([sys.executable, str(house / "scalegan/train.py"), f"recipe={recipe}",
                           f"streams.B.path={other}", f"run_dir={straight}"], capture_output=True, text=True,
                          env=harness.environment(PYTHONPATH=str(house)))
    assert done.returncode == 2 and "streams.B.content" in done.stderr


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_trains_it(stage: int, house: Path, recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    keys = ["engine.name=deepspeed", f"engine.zero_stage={stage}", "engine.reduction=fast", "total_images=160"]
    train(house, 2, f"recipe={recipe}", f"run_dir={tmp_path / 'zero'}", *keys)
    train(house, 1, f"recipe={recipe}", f"run_dir={tmp_path / 'ddp'}", "total_images=160")
    one, other = (store.read(store.complete(tmp_path / name / "checkpoints")[-1]) for name in ("zero", "ddp"))
    assert one.keys() == other.keys()
    for name in one:
        if one[name].is_floating_point() and name.startswith("game/"):
            torch.testing.assert_close(one[name], other[name], rtol=2e-3, atol=2e-4)
