"""Videos and time-lapses hold the frames they were given, in sizes that players take."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scalegan.commands.timelapse import main
from scalegan.errors import UserError
from scalegan.pictures.grids import pixels_of, save_animation
from scalegan.pictures.video import save_video

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="needs the extra `video`")


def decoded(path: Path) -> np.ndarray:
    """[N, H, W, 3]."""
    import av

    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


@needs_av
@pytest.mark.slow
@pytest.mark.parametrize("shape, shown", [((3, 16, 16), (128, 128)), ((1, 63, 41), (126, 82)),
                                          ((3, 131, 127), (132, 128))])
def test_a_video_shows_its_frames_in_even_sizes(shape: tuple[int, ...], shown: tuple[int, int], tmp_path: Path) -> None:
    steps = torch.linspace(-1, 1, 7)[:, None, None, None].expand(-1, *shape)
    tilted = steps * torch.linspace(0.2, 1, shape[-1])
    save_animation(tmp_path / "x.mp4", tilted, 0.05)
    video = decoded(tmp_path / "x.mp4")
    assert video.shape == (7, *shown, 3)
    factor = max(1, 128 // max(shape[1:]))
    expected = pixels_of(tilted).repeat(factor, 1).repeat(factor, 2)
    seen = video[:, : expected.shape[1], : expected.shape[2]].astype(int)
    assert np.abs(seen - expected).mean() < 3
    first = (tmp_path / "x.mp4").read_bytes()
    save_animation(tmp_path / "x.mp4", tilted, 0.05)
    assert (tmp_path / "x.mp4").read_bytes() == first


@needs_av
def test_a_frame_lasts_as_long_as_asked(tmp_path: Path) -> None:
    import av

    save_video(tmp_path / "x.mp4", np.zeros((10, 16, 16, 3), np.uint8), 0.1)
    with av.open(str(tmp_path / "x.mp4")) as file:
        assert file.streams.video[0].average_rate == 10 and file.duration == 1_000_000


def test_without_pyav_one_line_says_so_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"scalegan\[video\]"):
        save_video(tmp_path / "x.mp4", np.zeros((2, 16, 16, 3), np.uint8), 0.1)
    assert list(tmp_path.iterdir()) == []


def run_of(folder: Path, *sides: int) -> Path:
    """A run folder with a grid of each side, brighter each time."""
    (folder / "samples").mkdir(parents=True)
    for number, side in enumerate(sides):
        Image.new("RGB", (side, side), (40 * number,) * 3).save(folder / "samples" / f"{number * 1000:012d}.png")
    Image.new("RGB", (5, 5)).save(folder / "samples" / "notes.png")
    return folder


def test_a_timelapse_shows_the_grids_in_order(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = run_of(tmp_path / "run", 17, 33, 33, 33)
    (run / "samples" / "000000009000.png").write_bytes(b"\x89PNG half a pict")
    assert main([str(run), "--out", str(tmp_path / "growth.gif")]) == 1        # a broken grid is named
    assert "1 of 4 grids have another size" in (said := capsys.readouterr().err) and "000000009000.png is not" in said
    picture, seconds, greys = Image.open(tmp_path / "growth.gif"), 0, []
    for frame in range(picture.n_frames):
        picture.seek(frame)
        seconds += picture.info["duration"] / 1000
        greys.append(picture.convert("RGB").getpixel((3, 3))[0])
    assert picture.size == (33, 33) and greys == [40, 80, 120] and seconds == pytest.approx(0.2 + 2.1)


@needs_av
@pytest.mark.slow
def test_a_timelapse_as_a_video(tmp_path: Path) -> None:
    assert main([str(run_of(tmp_path / "run", 33, 33)), "--out", str(tmp_path / "growth.mp4")]) == 0
    video = decoded(tmp_path / "growth.mp4")
    assert video.shape == (22, 34, 34, 3) and video[0].mean() < 3 and abs(video[-1].mean() - 40) < 3


@pytest.mark.parametrize("sides, says", [([], "no sample grid,"), ([9], "only one sample grid,"),
                                         ([9, 17], "only one sample grid of the newest size,")])
def test_a_timelapse_needs_two_grids(sides: list[int], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        main([str(run_of(tmp_path / "run", *sides)), "--out", str(tmp_path / "x.gif")])
