"""`prepare --kind pairs`: partners keep equal numbers, whatever is missing or broken."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scalegan.commands import prepare
from scalegan.data.preparing.sources.pairs import open_pairs
from scalegan.errors import UserError
from scalegan.metrics.images import open_images

SIZE = 16


def image(value: int) -> Image.Image:
    return Image.new("RGB", (SIZE, SIZE), (value, value, value))


def write(folder: Path, names: list[str], first: int = 0) -> None:
    """Images of one grey value each, 10 * (the number in their name) + `first`."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image(10 * int("".join(filter(str.isdigit, Path(name).stem))) + first).save(path)


def prepared(source: Path, dest: Path, *more: str) -> list[list[int]]:
    """The grey values of A and of B, in the order of their records."""
    assert prepare.main([str(source), str(dest), "--kind", "pairs", "--resolution", str(SIZE), "--encoding", "png",
                         "--workers", "1", "--max-rejected", "1.0", *more]) == 0
    sets = [open_images(str(dest / side)) for side in "AB"]
    return [[int(one.read(number)[0, 0, 0]) for number in range(len(one))] for one in sets]


@pytest.mark.slow
def test_partners_have_equal_numbers_and_images_without_one_are_named(tmp_path: Path, capsys) -> None:
    write(tmp_path / "s" / "A", [f"p{n}.png" for n in (1, 2, 3, 10, 11)])
    write(tmp_path / "s" / "B", [f"p{n}.jpg" for n in (2, 3, 5, 10, 1)], 5)
    a, b = prepared(tmp_path / "s", tmp_path / "set")
    assert len(a) == 4 and sorted(a) == [10, 20, 30, 100]
    assert all(abs(y - x - 5) <= 2 for x, y in zip(a, b))      # B is a JPEG
    said = capsys.readouterr().out
    assert "no partner for A/p11" in said and "no partner for B/p5" in said
    assert f"data.path={tmp_path}/set/B streams.input.path={tmp_path}/set/A" in said


@pytest.mark.slow
@pytest.mark.parametrize("side", "AB")
def test_a_broken_image_takes_its_partner_with_it(side: str, tmp_path: Path) -> None:
    for name in "AB":
        write(tmp_path / "s" / name, [f"{n}.png" for n in range(6)], 5 * (name == "B"))
    (tmp_path / "s" / side / "3.png").write_bytes(b"broken")
    a, b = prepared(tmp_path / "s", tmp_path / "set")
    assert a == [0, 10, 20, 40, 50] and b == [x + 5 for x in a]


@pytest.mark.slow
def test_halves_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for n in range(4):
        both = Image.new("RGB", (2 * SIZE, SIZE))
        both.paste(image(10 * n), (0, 0))
        both.paste(image(200 + n), (SIZE, 0))
        both.save(tmp_path / "s" / f"{n}.png")
    Image.new("RGB", (2 * SIZE + 1, SIZE)).save(tmp_path / "s" / "odd.png")
    assert prepared(tmp_path / "s", tmp_path / "set") == [[0, 10, 20, 30], [200, 201, 202, 203]]


@pytest.mark.slow
def test_sub_folders_zips_and_validation_keep_partners_together(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
        for side in ("trainA", "trainB"):
            write(tmp_path / side, [f"{n % 2}x/{n}.png" for n in range(20)], 5 * (side == "trainB"))
            for n in range(20):
                archive.write(tmp_path / side / f"{n % 2}x/{n}.png", f"data/{side}/{n % 2}x/{n}.png")
    assert prepare.main([str(tmp_path / "pairs.zip"), str(tmp_path / "set"), "--kind", "pairs", "--resolution",
                         str(SIZE), "--encoding", "png", "--workers", "1", "--validation", "0.4"]) == 0
    total = 0
    for subset in ("train", "val"):
        a, b = (open_images(str(tmp_path / "set" / side / subset)) for side in "AB")
        assert len(a) == len(b) > 0
        total += len(a)
        for number in range(len(a)):
            assert b.read(number)[0, 0, 0] == a.read(number)[0, 0, 0] + 5
    assert total == 20
    again = prepare.main([str(tmp_path / "pairs.zip"), str(tmp_path / "set"), "--kind", "pairs", "--resolution",
                          str(SIZE), "--encoding", "png", "--workers", "1", "--validation", "0.4"])
    assert again == 0


@pytest.mark.parametrize("files, said", [
    (["A/1.png", "B/2.png"], "has the name of one in"), (["A/1.png", "B/1.png", "C/1.png"], "A, B, C"),
    (["A/1.png", "A/1.jpg", "B/1.png"], "differ in nothing but the suffix"),
    (["1.png", "A/1.png", "B/1.png"], "two folders"), (["1.png", "1.jpg"], "rename them"),
], ids=["no partners", "three folders", "a name twice", "an image beside", "halves of one name"])
def test_what_holds_no_pairs_is_refused_in_a_line(files: list[str], said: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    with pytest.raises(UserError) as raised:
        open_pairs(tmp_path, "auto", "A")
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_pairs_have_no_labels(tmp_path: Path) -> None:
    write(tmp_path, ["A/1.png", "B/1.png"])
    with pytest.raises(UserError, match="leave it out"):
        open_pairs(tmp_path, "class", "A")
    assert np.array(list(open_pairs(tmp_path, "none", "B").files)).tolist() == ["1"]
