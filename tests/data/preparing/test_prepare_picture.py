"""Decoding, cropping and resizing of single pictures."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from sources_made import encoded, pixels, write_folder

from scalegan.data.codec import pixels_of
from scalegan.data.manifest import ImageFormat
from scalegan.data.picture import all_grey, crop, read_picture, resize
from scalegan.data.preparing.shard_job import ShardJob
from scalegan.data.preparing.sources import open_source


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_reads_every_format_as_colour(format: str) -> None:
    picture = read_picture(encoded(pixels(1), format))
    assert picture.shape == (32, 40, 3) and picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - pixels(1)).mean() < 12


def test_grey_pictures_have_one_channel() -> None:
    grey = np.array(Image.fromarray(pixels(1)).convert("L"))
    for format in ("JPEG", "PNG"):
        assert read_picture(encoded(grey, format)).shape == (32, 40, 1)
    assert all_grey([encoded(grey), ValueError("broken")])
    assert not all_grey([encoded(grey), encoded(pixels(2))])
    assert not all_grey([ValueError("broken")])


def test_turns_a_photo_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6    # the camera was held on its side: rotate by 90 degrees clockwise
    turned = read_picture(encoded(pixels(3), quality=100, exif=exif))
    plain = read_picture(encoded(pixels(3), quality=100))
    assert turned.shape == (40, 32, 3)
    assert np.abs(turned.astype(int) - np.rot90(plain, -1)).mean() < 4


def test_puts_transparent_pictures_on_white() -> None:
    rgba = np.dstack([pixels(4), np.zeros((32, 40), np.uint8)])
    assert (read_picture(encoded(rgba, "PNG")) == 255).all()


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "empty"),
    (b"no picture at all", "it is not one of JPEG, PNG"),
    (encoded(pixels(5))[:-60], "[Pp]remature end"),
    (encoded(pixels(5), "PNG")[:400], "truncated"),
    (encoded(pixels(5), "WEBP")[:60], "decode|identify|decoder"),
    (encoded(np.full((8, 8), 40000, np.uint16), "PNG"), "more than 8 bits"),
], ids=["empty", "text", "jpeg cut short", "png cut short", "webp cut short", "16 bits"])
def test_refuses_broken_pictures_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_picture(data)


def test_refuses_a_jpeg_whose_data_libjpeg_would_patch_up() -> None:
    """Pillow opens such a picture with a grey lower half; libjpeg-turbo only warns."""
    data = bytearray(encoded(pixels(6, 200, 200), quality=95))
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd9"     # the end-of-image marker
    with pytest.raises(ValueError, match=r"[Pp]remature end|bad Huffman|Corrupt"):
        read_picture(bytes(data))


@pytest.mark.parametrize(("how", "shape", "top", "left", "side"), [
    ("center", (32, 40), 0, 4, 32),
    ("center", (41, 32), 4, 0, 32),
    ("celeba178", (218, 178), 20, 0, 178),
    ("celeba108", (218, 178), 55, 35, 108),     # the DCGAN literature's rows 55 ... 162, columns 35 ... 142
    ("none", (32, 32), 0, 0, 32),
])
def test_crops(how: str, shape: tuple[int, int], top: int, left: int, side: int) -> None:
    picture = pixels(7, shape[1], shape[0])
    assert (crop(picture, how) == picture[top : top + side, left : left + side]).all()


@pytest.mark.parametrize(("how", "shape"), [("none", (32, 40)), ("celeba178", (256, 256)), ("celeba108", (178, 218))])
def test_refuses_crops_that_do_not_apply(how: str, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{shape[1]} x {shape[0]}"):
        crop(pixels(7, shape[1], shape[0]), how)


@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "box"])
def test_resizing_does_not_alias(filter: str) -> None:
    """A checkerboard of single pixels becomes even grey, which nearest or plain bilinear sampling would not give."""
    board = np.indices((256, 256)).sum(0).astype(np.uint8) % 2 * 255
    small = resize(board[..., None], 64, 1, filter)
    assert small.shape == (64, 64, 1)
    assert np.abs(small[4:-4, 4:-4].astype(int) - 127).max() <= 2


def test_resizing_to_its_own_size_changes_nothing() -> None:
    picture = pixels(8, 32, 32)
    assert (resize(picture, 32, 3, "lanczos") == picture).all()
    assert resize(picture, 32, 1, "lanczos").shape == (32, 32, 1)


@pytest.mark.parametrize(("format", "options", "size", "stored"), [
    ("JPEG", {"subsampling": "4:2:0"}, 32, "420"), ("JPEG", {"subsampling": "4:2:0"}, 48, "420"),
    ("JPEG", {"subsampling": "4:2:0"}, 31, "444"), ("JPEG", {"subsampling": "4:2:2"}, 32, "444"),
    ("JPEG", {"subsampling": "4:4:4"}, 32, "444"), ("WEBP", {}, 32, "420"), ("WEBP", {}, 16, "444"),
    ("WEBP", {"lossless": True}, 32, "444"), ("PNG", {}, 32, "444")])
def test_colour_is_stored_as_fine_as_it_came(
        format: str, options: dict, size: int, stored: str, tmp_path: Path) -> None:
    x = np.linspace(64, 192, 32)
    smooth = np.stack(np.broadcast_arrays(x[:, None], x, 255 - x), 2).astype(np.uint8)
    image = ImageFormat(size, 3, "jpeg", 95)
    source = open_source("folder", [write_folder(tmp_path / "photos", {"cat": 1})])
    picture = encoded(smooth, format, **options)
    data, *_ = ShardJob(source, image, 0.0, tmp_path, False).encoded(picture)
    assert simplejpeg.decode_jpeg_header(data)[3] == stored
    expected = resize(read_picture(picture), size, 3, image.filter).astype(int)
    assert np.abs(pixels_of(data, image) - expected).mean() < 2
