"""Checkpoints: complete or absent, exact, and never a way to run code."""

import contextlib
import itertools
import json
import os
import pickle
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from harness import spawn, state

from scalegan.checkpoints import store
from scalegan.checkpoints.store import Checkpoints
from scalegan.checkpoints.write_plan import slices_by_rank
from scalegan.engines import partitioned
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError

ALONE = Ranks(0, 1, torch.device("cpu"))


def some_tensors(offset: float = 0.0) -> dict[str, torch.Tensor]:
    """Tensors of many types and layouts, including a scalar and an empty one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 8, 8, generator=generator) + offset
    return {
        "game/conv": images.to(memory_format=torch.channels_last), "game/plain": images + 1,
        "game/double": images[0].double(), "game/bf16": images[1].bfloat16(), "game/half": images[2].half(),
        "game/step": torch.tensor(7.0 + offset), "game/count": torch.tensor([3, 4]), "game/mask": images[0] > 0,
        "game/empty": torch.zeros(0, 3), "ema/transposed": images.transpose(0, 1),
    }


def empty_like(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    """Two complete checkpoints, at 100 and 200 images."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", ALONE, keep=2)
    checkpoints.save(100, some_tensors(1), state(100), wait=True)
    checkpoints.save(200, some_tensors(2), state(200), wait=True)
    return checkpoints


def shard(path: Path) -> Path:
    return next(iter(sorted(path.glob("*.safetensors"))))


def test_everything_comes_back_bit_for_bit(saved: Checkpoints) -> None:
    tensors = empty_like(some_tensors())
    store.load_into(saved.newest(), tensors)
    assert_equal(tensors, some_tensors(2))
    assert tensors["game/conv"].is_contiguous(memory_format=torch.channels_last)
    assert store.metadata_of(saved.newest()).items() >= state(200).items()
    assert_equal(store.read(saved.newest(), "ema/"), {"ema/transposed": some_tensors(2)["ema/transposed"]})


def test_layout_of_the_folder(saved: Checkpoints) -> None:
    assert sorted(p.name for p in saved.folder.iterdir()) == ["000000000100", "000000000200"]
    files = {p.name for p in saved.newest().iterdir()}
    assert {"COMPLETE", "state.json"} < files
    assert all(name.endswith(".safetensors") for name in files - {"COMPLETE", "state.json"})
    assert json.loads((saved.newest() / "COMPLETE").read_text()).keys() == files - {"COMPLETE"}


@pytest.mark.parametrize("device, chosen", [(torch.device("cuda", 3), [("saver", torch.device("cuda", 3))]),
                                            (torch.device("cuda"), []), (torch.device("cpu"), [])])
def test_the_saver_works_on_its_ranks_device(device: torch.device, chosen: list, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread starts on GPU 0, whosever that is."""
    found = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda where: found.append(
        ("saver" if threading.current_thread().name.startswith("checkpoint-saver") else "other", where)))
    Checkpoints(tmp_path, Ranks(0, 1, device), 2).save(64, {"w": torch.ones(3)}, {}, wait=True)
    assert found == chosen and torch.equal(store.read(store.complete(tmp_path)[0])["w"], torch.ones(3))


def test_saves_the_values_at_the_call(tmp_path: Path) -> None:
    """Training continues while a background thread writes."""
    tensors = {f"game/{i}": torch.full((512, 512), float(i)) for i in range(20)}
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    checkpoints.save(1, tensors, state(1))
    for tensor in tensors.values():
        tensor.fill_(-1)
    checkpoints.finish()
    assert all(torch.equal(t, torch.full((512, 512), float(n[5:])))
               for n, t in store.read(checkpoints.newest()).items())


def truncate_shard(path: Path) -> None:
    os.truncate(shard(path), shard(path).stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    content = bytearray(shard(path).read_bytes())
    content[-5] ^= 1
    shard(path).write_bytes(content)


def remove_shard(path: Path) -> None:
    shard(path).unlink()


def remove_state(path: Path) -> None:
    (path / "state.json").unlink()


def change_state(path: Path) -> None:
    (path / "state.json").write_text('{"images": 999}')


def empty_the_complete_file(path: Path) -> None:
    (path / "COMPLETE").write_text("")


@pytest.mark.parametrize("damage", [truncate_shard, flip_a_byte, remove_shard, remove_state, change_state,
                                    empty_the_complete_file], ids=lambda f: f.__name__)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(damage: object, saved: Checkpoints) -> None:
    damage(saved.newest())
    said: list[str] = []
    again = Checkpoints(saved.folder, ALONE, 2, said.append)
    assert again.newest().name == "000000000100"
    assert len(said) == 1 and said[0].startswith("warning: skipping the damaged checkpoint") and "\n" not in said[0]
    tensors = empty_like(some_tensors())
    store.load_into(again.newest(), tensors)
    assert_equal(tensors, some_tensors(1))


def test_incomplete_checkpoints_and_leftovers_are_removed(saved: Checkpoints) -> None:
    """What a kill at any moment of a save leaves behind."""
    (saved.folder / ".000000000300-abc").mkdir()
    (saved.folder / ".000000000300-abc" / "shard-00001.safetensors").write_bytes(b"half")
    (saved.folder / "000000000200" / "COMPLETE").unlink()
    again = Checkpoints(saved.folder, ALONE, 2)
    assert [p.name for p in saved.folder.iterdir()] == ["000000000100"]
    assert again.newest().name == "000000000100"


def test_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=3)
    for images in (5, 10, 20, 40, 80):
        checkpoints.save(images, {"game/a": torch.ones(1)}, state(images), wait=True)
    assert [int(p.name) for p in store.complete(tmp_path)] == [20, 40, 80]
    assert len(list(tmp_path.iterdir())) == 3


def test_best_checkpoints_that_the_folder_does_not_have_are_forgotten(saved: Checkpoints) -> None:
    """Of a run that goes back, or comes from another folder: a link to nothing would stand for them, for ever."""
    def entry(images: int) -> dict:
        return {"value": 1.0, "images": images, "measure": "m"}

    saved.save(300, some_tensors(3), state(300, best={"fd": entry(300), "kid": entry(200)}), wait=True)
    store.discard(saved.folder / "000000000300")
    again = Checkpoints(saved.folder, ALONE, 2)
    assert again.still_there({"fd": entry(300), "kid": entry(200), "is": entry(50)}) == {"kid": entry(200)}
    assert [path.name for path in saved.folder.iterdir() if path.is_symlink()] == ["best-kid"]


def test_the_same_images_again_replaces(saved: Checkpoints) -> None:
    saved.save(200, some_tensors(9), state(200), wait=True)
    assert_equal(store.read(saved.newest()), some_tensors(9))


@pytest.mark.parametrize("where", ["000000000200", "COMPLETE"])
def test_a_save_that_replaces_a_checkpoint_and_is_killed_leaves_the_one_from_before(
        where: str, saved: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the renames that make the new one."""
    class Killed(BaseException):
        pass

    rename = Path.rename

    def dying(self: Path, target: Path) -> Path:
        if Path(target).name == where and not self.name.endswith("-replaced"):
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        patch.setattr(store, "_put_back", lambda path: None)        # a killed process does nothing more
        patch.setattr(store.shutil, "rmtree", lambda path, **options: None)
        saved.save(200, some_tensors(9), state(200))
        assert isinstance(saved._pending.exception(), Killed)
    again = Checkpoints(saved.folder, ALONE, 2)
    assert_equal(store.read(again.newest()), some_tensors(2))
    assert sorted(path.name for path in saved.folder.iterdir()) == ["000000000100", "000000000200"]


def lose(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["game/plain"]


def gain(tensors: dict[str, torch.Tensor]) -> None:
    tensors["game/new"] = torch.zeros(2)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["game/plain"] = tensors["game/plain"].flatten()


def cast(tensors: dict[str, torch.Tensor]) -> None:
    tensors["game/bf16"] = tensors["game/bf16"].float()


@pytest.mark.parametrize("change, says", [(lose, "game/plain"), (gain, "game/new"), (reshape, r"\[4, 3, 8, 8\]"),
                                          (cast, "bfloat16")])
def test_other_names_shapes_and_types_are_refused(change: object, says: str, saved: Checkpoints) -> None:
    tensors = empty_like(some_tensors())
    change(tensors)
    with pytest.raises(UserError, match=says):
        store.load_into(saved.newest(), tensors)
    assert all(not t.any() for t in tensors.values())  # and nothing was touched


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["shard", "state.json", "COMPLETE", ".metadata"])
def test_a_planted_pickle_is_never_run(name: str, saved: Checkpoints, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    newest = saved.newest()
    target = shard(newest) if name == "shard" else newest / name
    target.write_bytes(bomb)
    # Call the readers directly, without the protection of checksums.
    for use in (store.metadata_of, store.read,
                lambda path: store.load_into(path, empty_like(some_tensors()))):
        with contextlib.suppress(UserError):
            use(newest)
    assert store.verify(newest) is not None or name == ".metadata"
    Checkpoints(saved.folder, ALONE, 2, lambda line: None).newest()
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)
    assert (tmp_path / "exploded").exists()  # the bomb was live


def uneven_tensors() -> dict[str, torch.Tensor]:
    """One large tensor, one with a single row, one much longer in its second axis, and many small ones."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"large": (1000, 50), "row": (1, 8000), "wide": (3, 5000), "wider": (7, 3, 2, 999)}
    found = {f"game/{name}": torch.randn(size, generator=generator) for name, size in sizes.items()}
    return {**found, **{f"optimizer/{i}": torch.tensor(float(i)) for i in range(50)}, **some_tensors()}


def save_together(ranks: Ranks, folder: str) -> tuple[Path, list[int]]:
    """Saves replicated tensors, and three that are partitioned over the ranks."""
    checkpoints = Checkpoints(Path(folder), ranks, keep=2)
    flat = torch.arange(3000.0)
    shapes = {"adam/a": torch.Size([1000]), "adam/b": torch.Size([3, 7, 11]), "adam/c": torch.Size([])}
    size = 3000 // ranks.world_size
    parts = partitioned.split(flat[ranks.rank * size :][:size], shapes, ranks.rank, ranks.world_size)
    checkpoints.save(100, uneven_tensors() | parts, state(100))
    checkpoints.finish()
    newest = checkpoints.newest()
    back = partitioned.split(torch.zeros(size), shapes, ranks.rank, ranks.world_size)
    store.load_into(newest, empty_like(uneven_tensors()) | back)
    for name, part in parts.items():
        assert torch.equal(back[name].part, part.part)
    return newest, [path.stat().st_size for path in newest.glob("*.safetensors")]


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_writing_and_one_reads_all(world: int, tmp_path: Path) -> None:
    results = spawn(world, save_together, str(tmp_path))
    newest, sizes = results[0]
    assert all(result == results[0] for result in results)
    assert len(sizes) == world and max(sizes) <= 1.2 * sum(sizes) / world
    flat = torch.arange(3000.0)
    assert_equal(store.read(newest), uneven_tensors() | {
        "adam/a": flat[:1000], "adam/b": flat[1000:1231].view(3, 7, 11), "adam/c": flat[1231]})


@pytest.mark.parametrize("world", [1, 3, 8, 64])
def test_shares_are_even_and_hold_everything_once(world: int) -> None:
    tensors = uneven_tensors()
    parts = slices_by_rank(tensors, world)
    for name, tensor in tensors.items():
        runs = [part[name] for part in parts if name in part]
        assert runs[0][0] == 0 and all(last == first for (_, last), (first, _) in itertools.pairwise(runs))
        assert runs[-1][1] == (max(tensor.shape) if tensor.numel() and tensor.dim() else 1)
    sizes = [sum((last - first) * tensors[name].nbytes / max(tensors[name].shape, default=1)
                 for name, (first, last) in part.items()) for part in parts]
    assert max(sizes) <= 1.2 * sum(sizes) / world


def save_differing_replicas(ranks: Ranks, folder: str) -> str:
    tensors = uneven_tensors()
    if ranks.rank == 1:
        tensors["game/wide"][2, 17] += 1e-6
    checkpoints = Checkpoints(Path(folder), ranks, keep=2)
    checkpoints.save(100, uneven_tensors(), state(100), wait=True)
    checkpoints.save(200, tensors, state(200))
    with pytest.raises(UserError) as caught:
        checkpoints.finish()
    return str(caught.value)


def test_differing_replicas_stop_the_run_and_the_tensor_is_named(tmp_path: Path) -> None:
    for said in spawn(2, save_differing_replicas, str(tmp_path)):
        assert "game/wide on rank 1 is not what it is on rank 0" in said and "000000000100 is intact" in said
    assert [path.name for path in tmp_path.iterdir()] == ["000000000100"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_is_a_one_line_error_and_the_last_checkpoint_stays(small_disk: Path) -> None:
    checkpoints = Checkpoints(small_disk / "checkpoints", ALONE, keep=2)
    checkpoints.save(100, {"game/a": torch.ones(1000)}, state(100), wait=True)
    with pytest.raises(UserError, match=r"the disk is full.*000000000100 is intact") as caught:
        checkpoints.save(200, {"game/a": torch.ones(1_000_000)}, state(200), wait=True)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (small_disk / "checkpoints").iterdir()] == ["000000000100"]  # and no leftovers
    again = Checkpoints(small_disk / "checkpoints", ALONE, keep=2)
    assert torch.equal(store.read(again.newest())["game/a"], torch.ones(1000))


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "value"])
def test_digest_sees(change: str) -> None:
    before = {"a": torch.zeros(4), "b": torch.ones(2)}
    after = {**before, "a": {"dtype": torch.zeros(4, dtype=torch.int32), "shape": torch.zeros(2, 2),
                             "value": torch.tensor([0, 0, 0, -0.0])}.get(change, before["a"])}
    if change == "name":
        after["c"] = after.pop("a")
    assert store.digest(after) != store.digest(before)


def test_digest_does_not_see_order_or_layout() -> None:
    images = torch.randn(2, 3, 4, 4)
    one = {"a": images, "b": torch.ones(2)}
    other = {"b": torch.ones(2), "a": images.to(memory_format=torch.channels_last)}
    assert store.digest(one) == store.digest(other)
