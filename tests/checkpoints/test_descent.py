"""Which checkpoint a run goes on from: `resume=PATH` counts until others descend from it, and a branch that was left is
set aside."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from harness import digest, ends, reports, state

from scalegan.checkpoints import exports, store
from scalegan.checkpoints.listing import complete, images_of, newest_of
from scalegan.checkpoints.state import Lineage
from scalegan.checkpoints.store import Checkpoints
from scalegan.cluster.records import newest_checkpoint
from scalegan.commands import inspection
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError

OTHER_RATE = "optimizer.G.lr=1e-3"


def go_on(recipe: Path, run: Path, total: int, *others: str, code: int = 0) -> str:
    """Trains to `total` images in this run folder; returns the error message."""
    (found, says), = ends(1, f"recipe={recipe}", f"run_dir={run}", f"total_images={total}",
                          "checkpoint.every_images=320", "checkpoint.keep=9", "snapshot.every_images=640", *others)
    assert found == code, says
    return says


def names(run: Path) -> list[int]:
    return [int(path.name) for path in complete(run / "checkpoints")]


def abandoned(run: Path) -> list[int]:
    return sorted(int(path.name[:12]) for path in (run / "checkpoints").glob("*.abandoned-*"))


def rate(run: Path) -> float:
    """G's learning rate at the newest checkpoint."""
    return store.metadata_of(exports.newest(run))["recipe"]["optimizer"]["G"]["lr"]


@pytest.fixture(scope="module")
def straight(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at 320, 640, 960 and 1,280 images."""
    run = tmp_path_factory.mktemp("descent") / "straight"
    go_on(tiny_recipe, run, 1280)
    return run


@pytest.fixture
def run(straight: Path, tmp_path: Path) -> Path:
    return shutil.copytree(straight, tmp_path / "run")


def named(run: Path, images: int) -> str:
    return f"resume={run / 'checkpoints' / f'{images:012d}'}"


def test_going_back_sets_the_branch_that_was_left_aside(run: Path, tiny_recipe: Path) -> None:
    (run / "config.1000.yaml").write_text("total_images: 5\n")
    go_on(tiny_recipe, run, 960, named(run, 640), OTHER_RATE)
    assert names(run) == [320, 640, 960] and abandoned(run) == [960, 1280]
    assert rate(run) == 1e-3 and exports.newest(run).name == "000000000960" and newest_checkpoint(run)[0] == 960
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert inspection.main([str(run)]) == 0
    assert json.loads(said.getvalue())["recipe"]["optimizer"]["G"]["lr"] == 1e-3
    assert [row["images"] for row in reports(run)][-1] == 960 and not (run / "config.1000.yaml").exists()

    go_on(tiny_recipe, run, 1280, named(run, 640), OTHER_RATE)      # the same command again goes on
    assert names(run) == [320, 640, 960, 1280] and abandoned(run) == [960, 1280]
    assert [fork["images"] for fork in store.metadata_of(exports.newest(run))["forks"]] == [640]
    go_on(tiny_recipe, run, 1600, OTHER_RATE)       # and so does resume=auto
    assert names(run)[-1] == 1600 and rate(run) == 1e-3

    left = next((run / "checkpoints").glob("*1280.abandoned-*"))    # what was left can be named
    go_on(tiny_recipe, run, 1344, f"resume={left}")
    assert names(run) == [320, 640, 1344] and rate(run) == 4e-4


def test_going_back_and_on_with_the_same_recipe_gives_the_same_bits(run: Path, straight: Path,
                                                                    tiny_recipe: Path) -> None:
    go_on(tiny_recipe, run, 1280, named(run, 640))
    assert digest(run) == digest(straight) and abandoned(run) == [960, 1280] and reports(run) == reports(straight)


def test_another_runs_checkpoint_counts_until_this_one_has_its_own(straight: Path, tiny_recipe: Path,
                                                                   tmp_path: Path) -> None:
    run = tmp_path / "new"
    for total in (960, 1280):
        go_on(tiny_recipe, run, total, named(straight, 640))
    assert names(run) == [960, 1280] and abandoned(run) == [] and digest(run) == digest(straight)


def test_another_runs_checkpoint_sets_a_folders_own_line_aside(straight: Path, run: Path, tiny_recipe: Path) -> None:
    for path in complete(run / "checkpoints"):      # as if they were of another run
        state = json.loads((path / "state.json").read_text())
        write_marker(path, {**state, "branch": "another"})
    (run / "rollbacks.json").write_text('[{"from": 700, "to": 640, "attempt": 1}]')
    go_on(tiny_recipe, run, 704, named(straight, 640))
    assert names(run) == [704] and abandoned(run) == [320, 640, 960, 1280]
    assert store.metadata_of(exports.newest(run))["attempt"] == 0


def test_keep_never_removes_the_named_checkpoint(run: Path, tiny_recipe: Path) -> None:
    go_on(tiny_recipe, run, 1600, named(run, 320), "checkpoint.keep=2")
    assert 320 in names(run) and names(run)[-2:] == [1280, 1600] and 640 not in names(run)


def test_the_end_is_written_where_there_is_nothing_to_train(straight: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    for _ in range(2):
        go_on(tiny_recipe, tmp_path, 1280, named(straight, 1280))
        assert names(tmp_path) == [1280] and digest(tmp_path) == digest(straight)
    assert (tmp_path / "samples" / "000000001280.png").exists()


@pytest.mark.parametrize("where, says", [
    ("checkpoints/000000009999", "does not exist; name a checkpoint"),
    ("", "is a run folder; name one of its checkpoints"),
    ("checkpoints", "is not a complete checkpoint"), ("config.yaml", "is a file; exports and other weights")])
def test_what_cannot_be_resumed_is_said_in_one_line(where: str, says: str, straight: Path, tiny_recipe: Path,
                                                    tmp_path: Path) -> None:
    found = go_on(tiny_recipe, tmp_path, 1280, f"resume={straight / where}", code=2)
    assert says in found and "\n" not in found


def write_marker(path: Path, state: dict) -> None:
    """Replaces a checkpoint's state, with a marker that fits."""
    from scalegan.checkpoints.marker import fingerprint

    (path / "state.json").write_text(json.dumps(state))
    files = {name: fingerprint(path / name) for name in json.loads((path / "COMPLETE").read_text())}
    (path / "COMPLETE").write_text(json.dumps(files))


@pytest.mark.parametrize("name, images", [("000000000640", 640), ("1000000000000", 1_000_000_000_000), ("²", None),
                                          ("٠٠٠٠٠٠٠٠٠٦٤٠", None), ("640", None), ("0000000000640", None),
                                          ("000000000640.damaged-1", None), ("9" * 5000, None)])
def test_names_of_checkpoints(name: str, images: int | None) -> None:
    assert images_of(name) == images


@pytest.mark.parametrize("name", ["000000009999", "²", "٣٣", "٠٠٠٠٠٠٠٠٩٩٩٩"])
def test_a_renamed_copy_is_never_the_newest(name: str, run: Path, tiny_recipe: Path) -> None:
    shutil.copytree(run / "checkpoints" / "000000000320", run / "checkpoints" / name)
    assert exports.newest(run).name == "000000001280" == newest_of(run / "checkpoints").name
    assert newest_checkpoint(run)[0] == 1280
    if name == "000000009999":
        with pytest.raises(UserError, match=r"its name says 9,999 images, but its state.json 320: it was renamed"):
            exports.newest(run / "checkpoints" / name)
        go_on(tiny_recipe, run, 1344)
        assert names(run) == [320, 640, 960, 1280, 1344]


def test_lines_of_descent() -> None:
    old = Lineage("a")
    new = old.fork(640, "/there")
    assert new.passes(old, 640) and new.passes(old, 320) and not new.passes(old, 641) and not old.passes(new, 700)
    assert new.follows(old, 640) and not new.follows(old, 320) and not old.fork(640).follows(old, 640)
    assert new.follows(new, 640)    # saved once more when its evaluation is made up for
    assert new.fork(900).passes(old, 640) and new.resumed("/there") and not new.resumed("/elsewhere")


@pytest.mark.parametrize("name, says", [
    ("emas/short/x", "emas was another when it was saved"), ("power_ema/0.05/x", "power_ema was another"),
    ("optimizer/G/x/exp_avg", "the name of a player's optimizer"), ("game/augment.probability.p", "augment was"),
    ("game/G.x", "it belongs to another recipe")])
def test_state_that_only_one_side_has_names_the_key_that_it_is_of(name: str, says: str, tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, Ranks(0, 1, torch.device("cpu")), 2)
    known = {"ema/x": torch.zeros(2)}
    for stored, wanted in ((known, {**known, name: torch.zeros(2)}), ({**known, name: torch.zeros(2)}, known)):
        saved.save(0, stored, state(0), wait=True)
        with pytest.raises(UserError, match=says):
            store.load_into(tmp_path / f"{0:012d}", wanted)
