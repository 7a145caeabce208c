"""A checkpoint is what COMPLETE lists, and its state is of the right types, whichever door it is read through."""

import contextlib
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import digest, ends, launch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import scalegan
from scalegan.checkpoints import exports, store
from scalegan.checkpoints.listing import complete
from scalegan.checkpoints.marker import fingerprint
from scalegan.commands import evaluate, export, inspection, sample
from scalegan.errors import UserError

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def straight(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at 320 and 640 images, and snapshots of power-function averages at 320."""
    run = tmp_path_factory.mktemp("damage") / "straight"
    launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=640", "checkpoint.every_images=320",
           "snapshot.every_images=0", "power_ema.every_images=320")
    return run


@pytest.fixture
def newest(straight: Path, tmp_path: Path) -> Path:
    """The checkpoint at 640 images of a copy of that run."""
    return shutil.copytree(straight, tmp_path / "run") / "checkpoints" / "000000000640"


def write_marker(path: Path) -> None:
    """Makes COMPLETE fit the files that it lists, as whoever plants files would."""
    files = {name: fingerprint(path / name) for name in json.loads((path / "COMPLETE").read_text())}
    (path / "COMPLETE").write_text(json.dumps(files))


def shard(path: Path) -> Path:
    return next(iter(sorted(path.glob("*.safetensors"))))


def with_state(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        state = json.loads((path / "state.json").read_text())
        changed = change(state)
        (path / "state.json").write_text(json.dumps(state if changed is None else changed))
        write_marker(path)
    return damage


def with_field(name: str, value: Any) -> Callable[[Path], None]:
    return with_state(lambda state: state.update({name: value}))


def without(name: str) -> Callable[[Path], None]:
    return with_state(lambda state: state.pop(name) and None)


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (path / name).write_bytes(content)
        if name != "COMPLETE":
            write_marker(path)
    return damage


def remarking(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        marker = json.loads((path / "COMPLETE").read_text())
        change(marker)
        (path / "COMPLETE").write_text(json.dumps(marker))
    return damage


def flip_a_bit(path: Path) -> None:
    content = bytearray(shard(path).read_bytes())
    content[-5] ^= 1
    shard(path).write_bytes(content)


def with_sharding(change: Callable[[dict[str, Any]], str]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with safe_open(shard(path), "pt") as file:
            header = dict(file.metadata())
        text = change(json.loads(header["DCP_SHARDING_INFO"]))
        save_file(load_file(shard(path)), shard(path), {**header, "DCP_SHARDING_INFO": text})
        write_marker(path)
    return damage


def offset(by: Any) -> Callable[[Path], None]:
    def change(info: dict[str, Any]) -> str:
        name = next(name for name, place in info.items() if place["saved_offsets"])
        info[name]["saved_offsets"][0] = by
        return json.dumps(info)
    return with_sharding(change)


def replace_by_a_pipe(path: Path) -> None:
    import os

    (path / "state.json").unlink()
    os.mkfifo(path / "state.json")


DAMAGES = {
    "a flipped bit": flip_a_bit,
    "a pipe for state.json": replace_by_a_pipe,
    "COMPLETE of state.json alone": remarking(lambda marker: [marker.pop(name) for name in [*marker]
                                                               if name != "state.json"]),
    "COMPLETE without state.json": remarking(lambda marker: marker.pop("state.json")),
    "COMPLETE lists a file elsewhere": remarking(lambda marker: marker.update(
        {"../x.safetensors": marker["state.json"]})),
    "COMPLETE with another type": remarking(lambda marker: marker.update({"state.json": 3})),
    "COMPLETE is a list": written("COMPLETE", b"[]"), "COMPLETE is empty": written("COMPLETE", b""),
    "COMPLETE nested deeply": written("COMPLETE", DEEP.encode()), "COMPLETE is not UTF-8": written("COMPLETE", b"\xff"),
    "state nested deeply": written("state.json", DEEP.encode()), "state is a list": written("state.json", b"[]"),
    "state is not UTF-8": written("state.json", b'{"images": "\xff"}'),
    **{f"state without {name}": without(name) for name in
       ("images", "iterations", "updates", "attempt", "means", "seconds", "recipe", "environment")},
    **{f"state with {name} = {value!r:.30}": with_field(name, value) for name, value in (
        ("images", -1), ("images", "640"), ("images", 640.0), ("images", True), ("iterations", math.nan),
        ("iterations", 0), ("iterations", 10**30), ("updates", {"D": "many"}), ("updates", 3), ("attempt", None),
        ("means", {"loss/D/real": [math.inf, 1]}), ("means", {"loss/D/real": 1}), ("seconds", -1), ("seconds", "1"),
        ("recipe", []), ("environment", None), ("scalers", {"D": {"scale": 0.0}}), ("health", {"D": {"skipped": -1}}),
        ("best", {"fid": {"value": 1.0}}),
        ("best", {"/../../x": {"value": 1.0, "images": 64, "measure": "m"}}),
        ("good", "yes"), ("networks", {"G": 1}), ("forks", [{}]), ("branch", 3),
        ("shards", ["other.safetensors"]), ("format", "2"))},
    "no JSON in the sharding": with_sharding(lambda info: "{"),
    "a list in the sharding": with_sharding(lambda info: "[]"),
    "deep sharding": with_sharding(lambda info: DEEP), "an offset that leaves a gap": offset(10**12),
    "a negative offset": offset(-1), "an offset of text": offset("far"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_the_run_falls_back(damage: Callable[[Path], None], newest: Path,
                                                capsys: pytest.CaptureFixture) -> None:
    damage(newest)
    found = store.verify(newest)
    assert found and "\n" not in found
    run = newest.parent.parent
    assert exports.newest(run).name == "000000000320"
    assert capsys.readouterr().err.count("warning: skipping the damaged checkpoint") == 1
    with pytest.raises(UserError, match="is damaged") as caught:
        exports.newest(newest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["state with iterations = nan", "an offset that leaves a gap",
                                    "COMPLETE of state.json alone"])
def test_training_falls_back_and_ends_with_the_same_bits(damage: str, newest: Path, straight: Path,
                                                         tiny_recipe: Path) -> None:
    DAMAGES[damage](newest)
    run = newest.parent.parent
    launch(1, f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=640", "checkpoint.every_images=320",
           "snapshot.every_images=0", "power_ema.every_images=320")
    assert digest(run) == digest(straight) and len([*newest.parent.glob("*.damaged-*")]) == 1


@pytest.mark.parametrize("verb", [
    lambda path, out: export.main([str(path), "--out", str(out / "G.safetensors")]),
    lambda path, out: sample.main([str(path), "--out", str(out / "drawn"), "--seeds", "0"]),
    lambda path, out: inspection.main([str(path)]),
    lambda path, out: evaluate._own_recipe(str(path), store_ranks()),
    lambda path, out: scalegan.load(path)], ids=["export", "sample", "inspect", "evaluate", "load"])
def test_a_damaged_checkpoint_named_by_path_is_refused(verb: Callable[[Path, Path], object], newest: Path,
                                                       tmp_path: Path) -> None:
    flip_a_bit(newest)
    with pytest.raises(UserError, match=r"is damaged: shard.* has changed since it was written; name another"):
        verb(newest, tmp_path)
    assert not (tmp_path / "G.safetensors").exists()


def store_ranks() -> Any:
    from scalegan.engines.ranks import Ranks

    return Ranks(0, 1, torch.device("cpu"))


def test_files_that_complete_does_not_list_change_nothing(newest: Path, tiny_recipe: Path) -> None:
    before, run = store.digest(store.read(newest)), newest.parent.parent
    drawn = scalegan.load(newest)(torch.ones(1, 8), torch.tensor([0]))
    with safe_open(shard(newest), "pt") as file:
        header = file.metadata()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(shard(newest)).items()}
    for name in ("a.safetensors", "zz.safetensors"):    # before and after our own by name
        save_file(zeros, newest / name, header)
    assert store.digest(store.read(newest)) == before
    assert torch.equal(scalegan.load(newest)(torch.ones(1, 8), torch.tensor([0])), drawn)
    (code, says), = ends(1, f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=640", "snapshot.every_images=0",
                         "power_ema.every_images=320")
    assert (code, says) == (0, "") and store.digest(store.read(newest)) == before


def poison(path: Path, prefix: str) -> None:
    tensors = load_file(shard(path))
    next(tensor for name, tensor in tensors.items() if name.startswith(prefix)).view(-1)[0] = math.nan
    with safe_open(shard(path), "pt") as file:
        save_file(tensors, shard(path), file.metadata())


def test_nan_in_an_average_is_neither_exported_nor_trained_on(newest: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    poison(newest, "ema/")
    write_marker(newest)
    with pytest.raises(UserError, match=r"G/.* has values that are not finite"):
        export.main([str(newest), "--out", str(tmp_path / "G.safetensors")])
    (code, says), = ends(1, f"recipe={tiny_recipe}", f"run_dir={newest.parent.parent}", "total_images=704",
                         "power_ema.every_images=320")
    assert code == 1 and "holds values that are not finite" in says and "\n" not in says


def test_nan_in_an_export_is_said(newest: Path, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        export.main([str(newest), "--out", str(tmp_path / "G.safetensors")])
    poison(tmp_path, "G/")
    with pytest.raises(UserError, match="not finite"):
        scalegan.load(tmp_path / "G.safetensors")


def changed_header(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        about = json.loads(text)
        change(about)
        return json.dumps(about)
    return changed


@pytest.mark.parametrize("change", [
    lambda text: DEEP, lambda text: "3", lambda text: "{}", lambda text: text.replace('"seed": 0', '"seed": NaN'),
    *map(changed_header, (
        lambda about: about.pop("recipe"), lambda about: about.pop("images"), lambda about: about.update(images=-1),
        lambda about: about.update(default="H"), lambda about: about.update(target="none"),
        lambda about: about.update(averaged=3), lambda about: about.update(networks=[]),
        lambda about: about["networks"]["G"].update(players=["X"]),
        lambda about: about["networks"]["G"].update(inputs=[]), lambda about: about["specs"]["real"].update(kind=3),
        lambda about: about["specs"]["real"].update(shape=[3, -16, 16]),
        lambda about: about["specs"]["real"].update(classes=10**12),
        lambda about: about["recipe"].update(model=[]), lambda about: about["recipe"]["model"].update(width=10**7),
        lambda about: about["recipe"]["game"].update(name="chess")))])
def test_a_wrong_header_of_an_export_is_one_line(change: Callable[[str], str], newest: Path, tmp_path: Path) -> None:
    path = tmp_path / "G.safetensors"
    exports.save(scalegan.load(newest), path)
    with safe_open(path, "pt") as file:
        text = file.metadata()["scalegan"]
    save_file(load_file(path), path, {"scalegan": change(text)})
    with pytest.raises(UserError) as caught:
        scalegan.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage, says", [
    (lambda path: path.write_bytes(b"half"), "cannot read"), (lambda path: rewrite(path, text="[]"), "scalegan"),
    (lambda path: rewrite(path, text='{"images": 320, "sigma_rel": [0.0]}'), "sigma_rel"),
    (lambda path: rewrite(path, text='{"images": 5, "sigma_rel": [0.05]}'), "was renamed"),
    (lambda path: rewrite(path, change=lambda tensor: tensor * math.nan), "not finite"),
    (lambda path: rewrite(path, change=lambda tensor: tensor.flatten()[:1]), "another shape")])
def test_a_damaged_snapshot_of_averages_is_one_line(damage: Callable[[Path], None], says: str, newest: Path) -> None:
    run = newest.parent.parent
    exports.load(run, sigma_rel=0.08)
    (run / "averages" / "notes.safetensors").write_bytes(b"of the user")     # not one of ours
    damage(run / "averages" / "000000000320.safetensors")
    with pytest.raises(UserError, match=says) as caught:
        exports.load(run, sigma_rel=0.08)
    assert "000000000320.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def rewrite(path: Path, text: str | None = None, change: Callable[[torch.Tensor], torch.Tensor] = lambda t: t) -> None:
    with safe_open(path, "pt") as file:
        header = file.metadata()["scalegan"]
    save_file({name: change(tensor).contiguous() for name, tensor in load_file(path).items()}, path,
              {"scalegan": header if text is None else text})


def test_a_copy_under_any_other_name_is_read(newest: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(newest, tmp_path / "the good one")
    assert exports.newest(copy) == copy and len(complete(newest.parent)) == 2
