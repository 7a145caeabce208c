"""`scalegan sample`: batch by batch, resumed after an interruption, a bounded grid, the GPU, labels by name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_generators import GAT, GENERATORS, saved
from torch import Tensor

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import export, interpolate, sample
from scalegan.data.spec import Spec
from scalegan.errors import UsageError
from scalegan.games.sampling import guide
from scalegan.models import dcgan
from scalegan.pictures import grids
from scalegan.pictures.samples import write_samples
from scalegan.randomness import Draws

SEEDS = list(range(100, 166))       # three batches, the last of them of two


class Painter:
    """Image n is of one colour, its seed's; counts what it is asked for, and stops at batch `ends`."""

    def __init__(self, ends: int | None = None) -> None:
        self.ends, self.drawn = ends, []

    def __call__(self, part: slice) -> Tensor:
        if len(self.drawn) == self.ends:
            raise KeyboardInterrupt
        self.drawn.append(part.start // 32)
        return torch.tensor(SEEDS[part]).view(-1, 1, 1, 1).expand(-1, 3, 4, 4) / 127.5 - 1


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "_MOST_IMAGES", 20)


@pytest.mark.usefixtures("small_grid")
def test_an_interrupted_call_goes_on_where_it_was_and_writes_the_same(tmp_path: Path) -> None:
    """Batches of which the grid shows images are drawn again; of the others only those that are missing."""
    assert write_samples(tmp_path / "straight", SEEDS, Painter(), "G", 10) == 20
    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path / "moved", SEEDS, Painter(ends=2), "G", 10)
    assert len(list((tmp_path / "moved").glob("seed*.png"))) == 64
    painter = Painter()
    write_samples(tmp_path / "moved", SEEDS, painter, "G", 10)
    assert painter.drawn == [0, 2]
    assert pictures(tmp_path / "moved") == pictures(tmp_path / "straight")
    assert len(pictures(tmp_path / "straight")) == 67
    assert np.array(Image.open(tmp_path / "straight" / "grid.png"))[40, 40, 0] == 100      # enlarged 16 times


@pytest.mark.slow
@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("change", [
    lambda folder: "another G", lambda folder: [path.unlink() for path in folder.glob("seed00014*.png")] and "G",
    lambda folder: (folder / ".unfinished.json").write_text("{") and "G",
    lambda folder: (folder / ".unfinished.json").write_text(json.dumps({"made_with": ["G", SEEDS], "batches": "x"}))
    and "G",
], ids=["other weights", "pictures that are gone", "a damaged record", "a record of another type"])
def test_what_is_not_known_to_be_the_same_is_drawn_again(change: Callable[[Path], str], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path, SEEDS, Painter(ends=2), "G", 10)
    painter = Painter()
    write_samples(tmp_path, SEEDS, painter, change(tmp_path), 10)
    assert painter.drawn == [0, 1, 2]
    assert not (tmp_path / ".unfinished.json").exists()


def test_guidance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `forward`'s; other families refuse it in a line."""
    monkeypatch.setitem(GENERATORS, "GAT", GAT)
    gat, other = saved("GAT", tmp_path / "gat.safetensors"), saved("DCGAN", tmp_path / "dcgan.safetensors")
    for name, guidance in (("plain", 1), ("guided", 3)):
        asked = ["--seeds", "0-2", "--guidance", str(guidance), "--out", str(tmp_path / name)]
        assert sample.main([str(gat), *asked]) == 0
    assert (tmp_path / "plain" / "grid.png").read_bytes() != (tmp_path / "guided" / "grid.png").read_bytes()
    network, draws = exports.load_generator(gat), Draws(0, 0, "sample", torch.arange(3))
    z, labels = draws.normal("z", network.latent_dim), torch.arange(3)
    guide(network, 3.0)
    assert torch.equal(network(z, labels), exports.load_generator(gat)(z, labels, guidance=3.0))
    with pytest.raises(UsageError, match=r"--guidance 3: .*needs a model.name=gat with classes"):
        sample.main([str(other), "--guidance", "3", "--out", str(tmp_path / "refused")])


@pytest.mark.parametrize("count, columns, side, expected", [
    (64, 8, 64, (64, 8)), (64, 8, 1024, (64, 8)), (20_000, 8, 32, (1024, 8)), (20_000, 10, 32, (1020, 10)),
    (20_000, 8, 1024, (88, 8)), (64, 1000, 64, (64, 1000)), (64, 1000, 1024, (64, 94)), (4, 8, 16_384, (1, 1)),
], ids=["the usual", "of large images", "many", "whole rows", "many large ones", "one wide row", "too wide", "huge"])
def test_a_grid_is_bounded(count: int, columns: int, side: int, expected: tuple[int, int]) -> None:
    assert grids.fitting(count, columns, side, side) == expected


def test_memory_and_device(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a batch at once; standing statistics and samples on the GPU where there is one."""
    moved, drawn = [], []
    draw = exports.sample
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moved.append(str(device)) or module)
    monkeypatch.setattr(exports, "sample", lambda generator, seeds, *rest, **more: drawn.append(len(seeds))
                        or draw(generator, seeds, *rest, **more))
    assert sample.main([str(finished_run), "--seeds", "0-69", "--out", str(tmp_path / "out")]) == 0
    assert moved == ["cuda", "cpu", "cuda"] and drawn == [32, 32, 6]
    monkeypatch.undo()
    together = grids.pixels_of(exports.sample(scalegan.load(finished_run), list(range(70)), torch.arange(70) % 4, 1.0))
    found = [np.array(Image.open(tmp_path / "out" / f"seed{seed:06d}.png")) for seed in range(70)]
    assert (np.stack(found) == together).all()


def grid(run: Path, classes: str, out: Path) -> bytes:
    assert sample.main([str(run), "--seeds", "0-3", "--classes", classes, "--out", str(out)]) == 0
    return (out / "grid.png").read_bytes()


def test_classes_by_name_are_those_by_number(finished_run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported.safetensors"
    export.main([str(finished_run), "--out", str(exported)])
    expected = grid(finished_run, "1,3", tmp_path / "numbers")
    assert grid(finished_run, "b,d", tmp_path / "names") == expected
    assert grid(exported, 'b, "d"', tmp_path / "of an export") == expected
    assert grid(finished_run, "0,2", tmp_path / "others") != expected
    for label in ("2", "c"):
        interpolate.main([str(exported), "--class", label, "--seeds", "0,1", "--out", str(tmp_path / f"{label}.png")])
    assert (tmp_path / "2.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that is conditioned by three attributes, and says what they are called."""
    path = tmp_path_factory.mktemp("faces") / "faces.safetensors"
    generator = dcgan.Generator(16, 3, 4, 8, num_classes=3, multilabel=True)
    model = {"name": "dcgan", "width": 4, "latent_dim": 8}
    spec = Spec("image", (3, 16, 16), attributes=3, label_names=("Bald", "Smiling", "Young, or so"))
    exports.save(exports.of_model(generator, model, spec, 0), path)
    return path


def test_attributes_by_name(faces: Path, tmp_path: Path) -> None:
    assert grid(faces, 'Smiling,"Young, or so"', tmp_path / "a") == grid(faces, "1-2", tmp_path / "b")
    assert grid(faces, "Bald", tmp_path / "c") != grid(faces, "1-2", tmp_path / "b")


@pytest.mark.parametrize("asked", ["9", "3", "Smilling"])
@pytest.mark.parametrize("verb", [sample, interpolate], ids=["sample", "interpolate"])
def test_attributes_that_there_are_not(verb: object, asked: str, faces: Path, tmp_path: Path) -> None:
    option = "--classes" if verb is sample else "--class"
    with pytest.raises(UsageError, match=rf"{option} {asked}: the attributes .* are 0 to 2 \(Bald, Smiling") as error:
        verb.main([str(faces), option, asked, "--out", str(tmp_path / ("out" if verb is sample else "out.png"))])
    assert ("did you mean 'Smiling'?" in str(error.value)) == (asked == "Smilling")
    assert not list(tmp_path.iterdir())
