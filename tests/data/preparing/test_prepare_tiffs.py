"""TIFFs, PNGs and PPMs other than photos: their numbers are read as their headers say, as by Pillow where it can."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sources_made as made
import tifffile
from PIL import Image

from scalegan.commands.prepare import main
from scalegan.data.manifest import ImageFormat, Manifest
from scalegan.data.picture import has_16_bits, read_picture
from scalegan.data.preparing.facts import look
from scalegan.data.rasters import fit_raster, read_raster
from scalegan.errors import UsageError
from scalegan.pictures import photos

DEEP = np.random.default_rng(1).integers(0, 65536, (12, 20, 3), np.uint16)
FLAT = (DEEP >> 8).astype(np.uint8)
RAMP = np.arange(240, dtype=np.uint8).reshape(12, 20)       # with all levels of 4 bits, and of 2


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def png(rows: np.ndarray, width: int, bits: int, colours: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of rows of bytes, colours being 0 for grey, 2 for RGB and 4 for grey with alpha."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colours, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), *chunks, (b"IDAT", content), (b"IEND", b"")))


def packed(levels: np.ndarray, bits: int) -> np.ndarray:
    """Levels of fewer than 8 bits as a PNG and a TIFF have them."""
    each = np.unpackbits(levels[..., None], axis=2)[..., 8 - bits:]
    return np.packbits(each.reshape(len(levels), -1), axis=1)


def deep(data: bytes, channels: int, alpha: bool = False) -> np.ndarray:
    return read_raster(data, ImageFormat(16, channels, "png", None, depth=16, alpha=alpha))


GREY = DEEP[..., :1]
INVERTED = {"16 bits": tiff(65535 - GREY[..., 0], photometric="miniswhite"),
            "big-endian": tiff(65535 - GREY[..., 0], photometric="miniswhite", byteorder=">", compression="zlib")}


@pytest.mark.parametrize("way", INVERTED)
def test_white_may_be_zero(way: str) -> None:
    assert np.array_equal(deep(INVERTED[way], 1), GREY)
    assert np.array_equal(deep(tiff(255 - FLAT[..., 0], photometric="miniswhite"), 1), FLAT[..., :1].astype(int) * 257)


def test_a_palette_gives_colours() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (3, 256)).astype(np.uint16)
    data = tiff(RAMP, photometric="palette", colormap=colours * 257)
    assert np.array_equal(deep(data, 3), np.moveaxis(colours[:, RAMP], 0, 2) * 257)
    kept = read_raster(data, ImageFormat(16, 4, "png", None, alpha=True))
    assert np.array_equal(kept[..., :3], read_picture(data)) and (kept[..., 3] == 255).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_the_highest_level_is_white_whatever_the_bits(bits: int) -> None:
    levels = GREY[..., 0] >> (16 - bits)
    stored = levels.astype(bool) if bits == 1 else levels.astype(np.uint8) if bits < 8 else levels
    options = {} if bits == 1 else {"bitspersample": bits}
    found = deep(tiff(stored, photometric="minisblack", **options), 1)
    assert np.abs(found[..., 0] - levels * (65535 / (2 ** bits - 1))).max() <= 0.5


TURNED = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: np.rot90(a, 2), 4: lambda a: a[::-1],
          5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
          8: np.rot90}


@pytest.mark.parametrize("orientation", TURNED)
def test_deep_images_are_turned_upright_as_photos_are(orientation: int) -> None:
    tag = [(274, 3, 1, orientation, True)]
    assert np.array_equal(deep(tiff(DEEP, photometric="rgb", extratags=tag), 3), TURNED[orientation](DEEP))
    assert np.array_equal(read_picture(tiff(FLAT, photometric="rgb", extratags=tag)), TURNED[orientation](FLAT))
    exif = Image.Exif()
    exif[274] = orientation
    data = png(DEEP.astype(">u2").reshape(12, -1), 20, 16, 2, (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    assert np.array_equal(deep(data, 3), TURNED[orientation](DEEP))


def test_colours_multiplied_by_alpha_are_put_over_white_once() -> None:
    alpha = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20, 1)
    share = alpha / 65535
    multiplied = np.rint(DEEP * share).astype(np.uint16)
    for colours, kind in ((DEEP, "unassalpha"), (multiplied, "assocalpha")):
        data = tiff(np.concatenate([colours, alpha], 2), photometric="rgb", extrasamples=[kind])
        found = deep(data, 4, alpha=True)
        assert np.abs(found[..., :3] - (DEEP * share + 65535 * (1 - share))).max() <= 2
        assert np.array_equal(found[..., 3:], alpha)
        assert np.abs(read_picture(data) - found[..., :3] / 257).max() < 4      # Pillow computes in 8 bits


def test_the_fourth_ink_is_no_alpha() -> None:
    data = tiff(np.concatenate([FLAT, FLAT[..., :1]], 2), photometric="separated")
    with pytest.raises(ValueError, match="CMYK"):
        read_raster(data, ImageFormat(16, 4, "png", None, alpha=True))
    assert read_raster(data, ImageFormat(16, 4, "png", None)).shape == (12, 20, 4)


@pytest.mark.parametrize("largest", [256, 1023, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_all_bits_of_a_ppm_are_kept(kind: int, largest: int) -> None:
    levels = DEEP.astype(int) * largest // 65535 if kind in (3, 6) else GREY.astype(int) * largest // 65535
    content = levels.astype(">u2").tobytes() if kind > 3 else " ".join(map(str, levels.ravel())).encode()
    data = b"P%d\n# a comment\n20 12\n%d\n" % (kind, largest) + content
    assert np.abs(deep(data, levels.shape[2]) - levels * (65535 / largest)).max() <= 0.5
    if levels.shape[2] == 3:
        assert has_16_bits(data) and np.abs(read_picture(data) - levels * (255 / largest)).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_level_is_one_of_the_files(bits: int) -> None:
    levels, step = RAMP >> (8 - bits), 255 // (2 ** bits - 1)
    for level in range(0, 2 ** bits, 1 + 2 ** bits // 5):
        data = png(packed(levels, bits), 20, bits, 0, (b"tRNS", struct.pack(">H", level)))
        assert np.array_equal(read_picture(data)[..., 0], np.where(levels == level, 255, levels * step))
        kept = read_raster(data, ImageFormat(16, 2, "png", None, alpha=True))
        assert np.array_equal(kept[..., 1], np.where(levels == level, 0, 255))


def test_the_transparent_colour_of_16_bits_is_seen() -> None:
    colour = struct.pack(">HHH", *DEEP[3, 4].tolist())
    found = read_picture(png(DEEP.astype(">u2").reshape(12, -1), 20, 16, 2, (b"tRNS", colour)))
    expected = FLAT.copy()
    expected[3, 4] = 255
    assert np.array_equal(found, expected)


def test_grey_with_alpha_of_16_bits_stays_grey() -> None:
    alpha = np.full_like(GREY, 65535)
    data = png(np.concatenate([GREY, alpha], 2).astype(">u2").reshape(12, -1), 20, 16, 4)
    assert np.array_equal(read_picture(data), FLAT[..., :1])


def test_commands_for_photos_read_them_alike() -> None:
    grey, flat = GREY[..., 0], FLAT[..., 0]
    assert np.abs(photos.read(tiff(65535 - grey, photometric="miniswhite")).pixels[..., 0] - grey / 257).max() <= 0.5
    assert np.abs(photos.read(tiff(grey >> 4, photometric="minisblack", bitspersample=12)).pixels[..., 0]
                  - (grey >> 4) * (255 / 4095)).max() <= 0.5
    alpha = np.full_like(GREY, 65535)
    found = photos.read(png(np.concatenate([GREY, alpha], 2).astype(">u2").reshape(12, -1), 20, 16, 4))
    assert np.array_equal(found.pixels[..., 0], flat) and (found.alpha == 255).all()
    planes = tiff(np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match="16 bits per channel, in planes"):     # which Pillow reads as if it had 8
        photos.read(planes)


def test_recipes_are_chosen_for_arrays_too(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FLAT)
    assert look(tmp_path, "auto").images.side == 12


P3_COLOUR = (100, 180, 90)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write", "options"), [
    ("a.tif", lambda flat: tiff(flat.astype(np.uint16) * 257, photometric="rgb", iccprofile=made.DISPLAY_P3),
     ["--depth", "16"]),
    ("a.tif", lambda flat: tiff(np.pad(flat, ((0, 0), (0, 0), (0, 1)), constant_values=255), photometric="rgb",
                                extrasamples=["unassalpha"], iccprofile=made.DISPLAY_P3), ["--alpha", "keep"]),
    ("a.png", lambda flat: made.encoded(flat, "PNG", icc_profile=made.DISPLAY_P3), ["--depth", "16"])])
def test_what_is_said_to_be_converted_to_srgb_is(name: str, write: Callable[[np.ndarray], bytes], options: list[str],
                                                tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made.write_files(tmp_path / "in", {name: write(np.full((16, 16, 3), P3_COLOUR, np.uint8))})
    main([str(tmp_path / "in"), str(tmp_path / "set"), "--resolution", "16", "--workers", "1", *options])
    assert "1 images have an embedded colour profile and were converted" in capsys.readouterr().out
    image = Manifest.load(tmp_path / "set").image
    pixels = read_raster((tmp_path / "in" / name).read_bytes(), image)
    assert image.colour == "sRGB"
    assert np.abs(pixels[..., :3] / (np.iinfo(pixels.dtype).max / 255) - made.p3_in_srgb(P3_COLOUR)).max() < 1.5


def test_what_is_filled_around_an_image_with_alpha_is_opaque() -> None:
    for fill, level in (("black", 0), ("white", 255)):
        image = ImageFormat(16, 4, "png", None, f"pad-{fill}", width=32, alpha=True)
        found = fit_raster(np.zeros((8, 8, 4), np.uint8), image).pixels
        assert (found[:, :8] == [level] * 3 + [255]).all() and (found[:, 24:] == [level] * 3 + [255]).all()
        assert (found[:, 8:24] == 0).all()


@pytest.mark.parametrize("options", [["--depth", "16"], ["--alpha", "keep"], ["--channels", "4"]])
def test_pairs_are_photos(options: list[str], tmp_path: Path) -> None:
    made.write_files(tmp_path / "in", {"a.png": made.encoded(np.zeros((16, 32, 3), np.uint8), "PNG")})
    with pytest.raises(UsageError, match="grey or RGB images of 8 bits; leave out"):
        main([str(tmp_path / "in"), str(tmp_path / "set"), "--kind", "pairs", *options])


def test_a_tiff_that_is_no_photo_is_not_said_to_be_no_tiff() -> None:
    with pytest.raises(ValueError, match="TIFF, or one of other numbers than photos have; convert it"):
        read_picture(tiff(np.zeros((8, 8, 8), np.uint8), photometric="minisblack", planarconfig="contig"))


def test_no_more_channels_are_recommended_than_there_may_be() -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((3, 8, 40), np.uint8))
    with pytest.raises(ValueError, match="it has 40 channels of 8 bits; at most 16"):
        read_picture(file.getvalue())
