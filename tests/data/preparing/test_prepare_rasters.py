"""Images of any channels and depth, from file to file: what is read, kept, refused and said."""

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from scalegan.commands import prepare
from scalegan.data import beton_file
from scalegan.data.manifest import ImageFormat, Manifest
from scalegan.data.picture import has_16_bits, read_picture
from scalegan.data.pixels import from_levels, shown, shown_pixels, to_uint8, to_uint16
from scalegan.data.rasters import fit_raster, read_raster
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.data.spec import Spec
from scalegan.errors import UsageError, UserError
from scalegan.metrics.images import StoredImages
from scalegan.pictures.bands import form_of

RANDOM = np.random.default_rng(0)


def levels(channels: int, depth: int, height: int = 16, width: int = 16) -> np.ndarray:
    most, dtype = (65535, np.uint16) if depth == 16 else (255, np.uint8)
    return RANDOM.integers(0, most + 1, (height, width, channels), dtype)


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def npy(pixels: np.ndarray) -> bytes:
    return saved(lambda file: np.save(file, pixels))


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    return saved(lambda file: tifffile.imwrite(file, pixels, **options))


def png(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


SEPARATE = {"photometric": "minisblack", "planarconfig": "separate"}
WAYS: dict[str, tuple[int, int, Callable[[np.ndarray], bytes]]] = {
    "npy, 8 x 16 bits": (8, 16, npy), "npy, 2 x 8 bits": (2, 8, npy), "npy, 16 x 8 bits": (16, 8, npy),
    "npy, big-endian": (5, 16, lambda pixels: npy(pixels.astype(">u2"))),
    "npy, without channels": (1, 16, lambda pixels: npy(pixels[..., 0])),
    "PNG, grey": (1, 16, lambda pixels: png(pixels[..., 0])), "PNG, RGB": (3, 16, png), "PNG, RGBA": (4, 16, png),
    "TIFF, grey": (1, 16, lambda pixels: tiff(pixels[..., 0])),
    "TIFF, RGB": (3, 16, lambda pixels: tiff(pixels, photometric="rgb", compression="zlib")),
    "TIFF, LZW": (6, 16, lambda pixels: tiff(planes(pixels), compression="lzw", predictor=True, **SEPARATE)),
    "TIFF, bands of 8 bits": (12, 8, lambda pixels: tiff(planes(pixels), **SEPARATE)),
    "TIFF, BigTIFF": (4, 16, lambda pixels: tiff(planes(pixels), bigtiff=True, **SEPARATE)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_level_survives_reading_and_storing(way: str) -> None:
    channels, depth, write = WAYS[way]
    pixels = levels(channels, depth)
    for encoding in ("png", "raw"):
        image = ImageFormat(16, channels, encoding, None, depth=depth)
        assert np.array_equal(read_raster(write(pixels), image), pixels)


@pytest.mark.parametrize(("way", "channels", "depth", "format"), [
    ("npy, 8 x 16 bits", 8, 16, "webdataset"), ("PNG, grey", 1, 16, "webdataset"),
    ("npy, 2 x 8 bits", 2, 8, "webdataset"), ("npy, 8 x 16 bits", 8, 16, "ffcv"), ("PNG, grey", 1, 16, "ffcv"),
    ("TIFF, bands of 8 bits", 12, 8, "ffcv")])
@pytest.mark.slow
def test_a_set_holds_what_its_files_held(way: str, channels: int, depth: int, format: str, tmp_path: Path) -> None:
    if format == "ffcv":
        try:
            beton_file.require()
        except UserError as error:
            pytest.skip(str(error))
    _, _, write = WAYS[way]
    wanted = [levels(channels, depth, 16, 24) for _ in range(9)]
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(wanted):
        (tmp_path / "in" / f"{number}.{way[:3].lower().replace('tif', 'tiff')}").write_bytes(write(pixels))
    prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), "--resolution", "24x16", "--channels", str(channels),
                  "--depth", str(depth), "--workers", "1", "--format", format])
    prepare.main([str(tmp_path / "set"), "--verify"])
    manifest = Manifest.load(tmp_path / "set")
    encoding = "raw" if format == "ffcv" else "png"
    assert manifest.image == ImageFormat(16, channels, encoding, None, width=24, depth=depth)
    if format == "ffcv":
        from scalegan.data.reading.ffcv_reader import FfcvReader

        reader = FfcvReader(tmp_path / "set")
    else:
        reader = WebDatasetReader(tmp_path / "set")
    found = np.empty(9, reader.sample)
    reader.read(found, np.arange(9))
    assert np.array_equal(found, np.stack(wanted))
    stored = StoredImages(tmp_path / "set")
    assert stored.shape == (channels, 16, 24) and np.array_equal(stored.read(3), wanted[3])
    assert stored.remarks if channels not in (1, 3) else not stored.remarks


def bomb() -> bytes:
    """A TIFF of a few hundred bytes that claims 8 GB."""
    def write(file: io.BytesIO) -> None:
        with tifffile.TiffWriter(file, bigtiff=True) as made:
            made.write(iter([zlib.compress(b"")]), shape=(1 << 14, 1 << 14, 16), dtype="uint16", compression="zlib",
                       photometric="minisblack", planarconfig="contig", rowsperstrip=1 << 14)
    return saved(write)


REFUSED = {
    "floats": (npy(np.zeros((4, 4), np.float32)), "float32, not uint8 or uint16"),
    "a stack": (npy(np.zeros((4, 4, 4, 4), np.uint8)), "--kind volumes"),
    "other channels": (npy(np.zeros((4, 4, 3), np.uint16)), "3 channels, not 8; --channels 3 keeps them"),
    "too many channels": (npy(np.zeros((4, 4, 17), np.uint16)), "it has 17 channels, not 8"),
    "nothing": (b"", "is empty"),
    "an empty array": (npy(np.zeros((0, 4), np.uint16)), "its shape is"),
    "half an array": (npy(np.zeros((64, 64), np.uint16))[:-100], "."),
    "objects": (saved(lambda file: np.save(file, np.array([{}]), allow_pickle=True)), "object, not uint8"),
    "half a TIFF": (tiff(np.zeros((64, 64), np.uint16))[:-100], "."),
    "a bomb": (bomb(), "more than the limit"),
    "signed": (tiff(np.zeros((4, 4), np.int16)), "int16, not uint8"),
    "half a PNG": (png(np.zeros((64, 64, 3), np.uint16))[:60], "."),
    "noise": (b"\x93NUMPY" + bytes(range(100)), "."),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_such_image_is_refused_with_a_reason(what: str) -> None:
    data, reason = REFUSED[what]
    with pytest.raises(ValueError, match=reason):
        read_raster(data, ImageFormat(16, 8, "png", None, depth=16))


def test_sixteen_bits_are_kept_or_refused_and_eight_are_scaled() -> None:
    deep, flat = levels(1, 16), levels(1, 8)
    with pytest.raises(ValueError, match="--depth 16 keeps them"):
        read_raster(npy(deep), ImageFormat(16, 1, "png", None))
    assert np.array_equal(read_raster(npy(flat), ImageFormat(16, 1, "png", None, depth=16)), flat.astype(int) * 257)


def test_alpha_is_the_last_channel_and_colours_are_over_white() -> None:
    pixels = levels(4, 8)
    pixels[0, 0], pixels[0, 1] = (10, 20, 30, 0), (10, 20, 30, 255)
    image = ImageFormat(16, 4, "png", None, alpha=True)
    found = read_raster(png(pixels), image)
    assert found[0, 0].tolist() == [255, 255, 255, 0] and found[0, 1].tolist() == [10, 20, 30, 255]
    assert np.array_equal(found[..., 3], pixels[..., 3])
    opaque = read_raster(png(pixels[..., :3].copy()), image)
    assert np.array_equal(opaque[..., :3], pixels[..., :3]) and (opaque[..., 3] == 255).all()
    deep = read_raster(png(pixels.astype(np.uint16) * 257), ImageFormat(16, 4, "png", None, depth=16, alpha=True))
    assert np.abs(deep / 257 - found).max() < 1


def test_a_sample_with_alpha_becomes_a_picture_with_the_same_colours(tmp_path: Path) -> None:
    pixels = levels(4, 8)
    pixels[..., 3] |= 128
    stored = read_raster(png(pixels), ImageFormat(16, 4, "png", None, alpha=True))
    sample = from_levels(torch.from_numpy(stored).permute(2, 0, 1)[None])[0]
    form_of(Spec("image", (4, 16, 16), alpha=True)).write(tmp_path / "made", sample, stored)
    assert np.abs(np.array(Image.open(tmp_path / "made.png")).astype(int) - pixels).max() <= 2


def test_bands_are_saved_whole_beside_what_is_shown(tmp_path: Path) -> None:
    pixels = levels(8, 16)
    sample = from_levels(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    form = form_of(Spec("image", (8, 16, 16), depth=16))
    form.write(tmp_path / "made", sample[0], form.shown(sample)[0])
    assert np.array_equal(np.load(tmp_path / "made.npy"), pixels)
    assert np.abs(np.array(Image.open(tmp_path / "made.png")).astype(int) - shown_pixels(pixels)).max() <= 1


def test_levels_and_what_is_shown_of_them() -> None:
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16).reshape(1, 1, 256, 256)
    assert torch.equal(to_uint16(from_levels(every)), every)
    eight = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_uint8(from_levels(eight)), eight)
    assert [shown(torch.zeros(1, channels, 2, 2)).shape[1] for channels in (1, 2, 3, 4, 16)] == [1, 1, 3, 3, 3]
    assert shown_pixels(np.array([[[0, 65535, 32768, 1]]], np.uint16)).tolist() == [[[0, 255, 128]]]


@pytest.mark.parametrize(("crop", "corner"), [("center", 7000), ("pad-white", 65535), ("pad-edge", 7000)])
def test_bands_are_cut_and_padded_as_photos_are(crop: str, corner: int) -> None:
    image = ImageFormat(32, 8, "png", None, crop, width=64, depth=16)
    fitted = fit_raster(np.full((50, 50, 8), 7000, np.uint16), image)
    assert fitted.pixels.shape == (32, 64, 8) and fitted.pixels.dtype == np.uint16
    assert (fitted.pixels[0, 0] == corner).all() and (fitted.pixels[16, 32] == 7000).all()


COLOURS = {"PNG": png, "PPM": lambda pixels: b"P6 16 16 65535\n" + pixels.astype(">u2").tobytes()} | {
    f"TIFF, {compression}, {layout}": lambda pixels, compression=compression, layout=layout: tiff(
        planes(pixels) if layout == "separate" else pixels, photometric="rgb", planarconfig=layout,
        compression=compression)
    for compression in (None, "zlib", "lzw") for layout in ("contig", "separate")}


@pytest.mark.parametrize("way", COLOURS)
def test_of_colours_of_16_bits_a_set_of_8_has_the_upper_8_or_none(way: str) -> None:
    pixels = levels(3, 16)
    data = COLOURS[way](pixels)
    assert has_16_bits(data)
    if way == "TIFF, None, separate":       # which Pillow reads as if it had 8
        with pytest.raises(ValueError, match="--depth 16"):
            read_picture(data)
    else:
        assert np.abs(read_picture(data).astype(int) - pixels / 257).max() < 1


def test_prepare_says_what_is_reduced_to_8_bits(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    for number, depth in enumerate((8, 16, 16)):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(levels(3, depth)))
    prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), "--workers", "1", "--resolution", "16"])
    assert "\n2 images have 16 bits per channel, of which the upper 8 are kept; --depth 16" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("way", ["PNG, grey", "TIFF, LZW", "npy, 8 x 16 bits", "PNG, RGB"])
def test_sixteen_bits_bring_the_channels_that_the_images_have(way: str, tmp_path: Path) -> None:
    channels, depth, write = WAYS[way]
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.{way.partition(',')[0].lower()}").write_bytes(write(levels(channels, depth)))
    prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), "--workers", "1", "--depth", "16"])
    assert Manifest.load(tmp_path / "set").image.channels == channels


def test_colour_is_no_grey_with_alpha() -> None:
    with pytest.raises(ValueError, match="--channels 4 keeps that"):
        read_raster(png(levels(4, 8)), ImageFormat(16, 2, "png", None, alpha=True))


@pytest.mark.parametrize(("options", "reason"), [
    (["--alpha", "keep", "--channels", "3"], "--channels 2 or 4"),
    (["--channels", "8", "--encoding", "jpeg"], "png and raw keep 8 channels"),
    (["--depth", "16", "--encoding", "webp"], "png and raw keep"),
    (["--depth", "16", "--format", "ffcv", "--encoding", "png"], "FFCV stores jpeg or raw"),
    (["--depth", "16", "--kind", "cifar10"], ""), (["--depth", "16", "--quality", "90"], "lossless")])
def test_options_that_contradict_each_other_are_refused(options: list[str], reason: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.npy").write_bytes(npy(levels(1, 16)))
    with pytest.raises((UsageError, UserError), match=reason):
        prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), *options])
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_channels_first_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.npy").write_bytes(npy(levels(64, 16, height=3)))
    with pytest.raises(UsageError, match=r"64 channels, and at most 16 can be kept; arrays are \[H, W, channels\]"):
        prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), "--depth", "16"])
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_a_set_from_before_depth_and_alpha_is_still_complete(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(levels(3, 8)).save(tmp_path / "in" / "a.png")
    for expected in ("train with", "already complete"):
        prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), "--workers", "1"])
        assert expected in capsys.readouterr().out
    assert not {"depth", "alpha"} & json.loads((tmp_path / "set" / "prepare.json").read_text())["settings"].keys()
    with pytest.raises(UserError, match="encoding=jpeg, but this call has encoding=png"):
        prepare.main([str(tmp_path / "in"), str(tmp_path / "set"), "--workers", "1", "--depth", "16"])
