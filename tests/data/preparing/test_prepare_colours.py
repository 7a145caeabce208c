"""Colours as they are meant: in sRGB, grey where they are grey; and no decoder but the one that is asked for."""

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sources_made as made
from PIL import Image, ImageCms

from scalegan.commands.prepare import main
from scalegan.data import picture
from scalegan.data.codec import decode_into, pixels_of
from scalegan.data.manifest import ImageFormat, Index, Manifest
from scalegan.data.picture import is_converted, read_picture
from scalegan.data.reading.folder import FolderReader
from scalegan.errors import UserError
from scalegan.metrics.images import open_images

COLOUR = (100, 180, 90)
FLAT = np.full((32, 32, 3), COLOUR, np.uint8)
IN_SRGB = made.p3_in_srgb(COLOUR)
BUILT_IN = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def upright(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_alpha(mode: str) -> Image.Image:
    image = Image.fromarray(FLAT).convert(mode)
    image.putalpha(255)
    return image


P3 = {"icc_profile": made.DISPLAY_P3}


@pytest.mark.parametrize("data", [
    saved(Image.fromarray(FLAT), **P3), saved(Image.fromarray(FLAT), "JPEG", quality=100, **P3),
    saved(Image.fromarray(FLAT), "JPEG", quality=100, exif=upright(6), **P3),
    saved(Image.fromarray(FLAT), "WEBP", lossless=True, **P3), saved(Image.fromarray(FLAT), "TIFF", **P3),
    saved(with_alpha("RGB"), **P3), saved(Image.fromarray(FLAT).convert("P", palette=Image.Palette.ADAPTIVE), **P3),
], ids=["png", "jpeg", "jpeg that lies on its side", "webp", "tiff", "png with alpha", "png with a palette"])
def test_display_p3_becomes_srgb(data: bytes) -> None:
    found = read_picture(data)
    assert found.shape == (32, 32, 3) and is_converted(data)
    assert np.abs(found - IN_SRGB).max() < 2.5      # JPEG's own rounding


@pytest.mark.parametrize("profile", [b"", made.SRGB, BUILT_IN, b"nonsense", made.DISPLAY_P3[:200]],
                         ids=["none", "sRGB", "another sRGB", "damaged", "cut short"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_what_needs_no_conversion_keeps_its_bits(profile: bytes, format: str) -> None:
    smooth = made.pixels(3)
    plain, tagged = made.encoded(smooth, format), made.encoded(smooth, format, icc_profile=profile)
    assert not is_converted(tagged)
    assert (read_picture(tagged) == read_picture(plain)).all()


@pytest.mark.parametrize("data", [
    saved(Image.new("L", (8, 8), 128), icc_profile=made.LINEAR_GREY),
    saved(Image.new("L", (8, 8), 128), "JPEG", icc_profile=made.LINEAR_GREY),
    saved(Image.merge("LA", [Image.new("L", (8, 8), level) for level in (128, 255)]), icc_profile=made.LINEAR_GREY),
], ids=["png", "jpeg", "png with alpha"])
def test_grey_of_another_tone_curve_becomes_srgbs_grey(data: bytes) -> None:
    found = read_picture(data)
    assert found.shape == (8, 8, 1)
    assert set(found.ravel().tolist()) <= {187, 188, 189}       # 1.055 * 0.502 ** (1 / 2.4) - 0.055 of 255


def test_transparency_and_white_survive_the_conversion() -> None:
    image = with_alpha("RGB")
    image.putalpha(Image.fromarray(np.repeat(np.array([[255, 0]], np.uint8), 16, 1).repeat(32, 0)))
    found = read_picture(saved(image, **P3))
    assert np.abs(found[:, :16] - IN_SRGB).max() < 1 and (found[:, 16:] == 255).all()


def grey(mode: str = "L") -> Image.Image:
    return Image.fromarray(made.pixels(5)).convert("L").convert(mode)


def grey_with_key() -> bytes:
    return saved(grey(), transparency=0)


@pytest.mark.parametrize("data", [
    saved(grey()), saved(with_alpha("L")), grey_with_key(), saved(grey("1")), saved(grey("P")),
    saved(grey("P"), transparency=7), saved(grey("P"), "GIF"), saved(grey("P"), "GIF", transparency=7),
    saved(with_alpha("LA"), "TIFF"), saved(grey(), "JPEG"), saved(grey("P"), "BMP"),
], ids=["grey", "with alpha", "with a transparent grey", "black and white", "palette",
        "palette with a transparent grey", "gif",
        "gif with a transparent grey", "tiff with alpha", "jpeg", "bmp with a palette"])
def test_grey_stays_grey(data: bytes) -> None:
    assert read_picture(data).shape[2] == 1


@pytest.mark.parametrize("image", [
    Image.fromarray(FLAT), with_alpha("RGB"), Image.fromarray(FLAT).convert("P", palette=Image.Palette.ADAPTIVE),
    Image.fromarray(np.repeat(made.pixels(5)[..., :1], 3, 2)),
], ids=["colour", "colour with alpha", "a palette of colours", "grey that is stored as colour"])
def test_colour_stays_colour(image: Image.Image) -> None:
    assert read_picture(saved(image)).shape[2] == 3


def test_grey_with_alpha_has_the_values_that_colour_had() -> None:
    alpha = Image.fromarray(made.pixels(6)[..., 0])
    image = grey()
    image.putalpha(alpha)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    assert (read_picture(saved(image)) == np.asarray(on_white)[..., :1]).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_the_pixel_limit_is_every_formats(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made.encoded(made.pixels(1, 64, 48), format)
    assert read_picture(data).shape == (48, 64, 3)
    monkeypatch.setattr(picture, "_MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ValueError, match=r"more than the limit of 2\^28 pixels; downscale it first"):
        read_picture(data)


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""
    buffer = io.BytesIO(saved(Image.new("L", (8, 8))))
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 0, 0, 0, 0))
    data = bytearray(buffer.getvalue())
    data[12:29], data[29:33] = head, zlib.crc32(head).to_bytes(4, "big")
    return bytes(data)


def test_the_limit_is_ours_and_pillows_is_left_as_it_was() -> None:
    assert picture.open_picture(claims(16_320, 12_240)).size == (16_320, 12_240)    # a telephone's 200 megapixels
    for size in ((16_385, 16_384), (60_000, 60_000)):
        with pytest.raises(ValueError, match=r"more than the limit of 2\^28 pixels; downscale it first"):
            read_picture(claims(*size))
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


STORED = {"png": ImageFormat(16, 3, "png"), "webp": ImageFormat(16, 3, "webp"), "jpeg": ImageFormat(16, 3, "jpeg")}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"
SMALL = made.pixels(2, 16, 16)


@pytest.mark.parametrize(("record", "words"), [
    (lambda name: EPS, "."), (lambda name: made.encoded(SMALL, "GIF"), "."),
    (lambda name: made.encoded(SMALL, "TIFF"), "."),
    (lambda name: made.encoded(SMALL, "PNG" if name != "png" else "WEBP"), "."),
    (lambda name: made.encoded(made.pixels(2, 40, 16), name.upper()), "40 x 16 pixels, not 16 x 16"),
    (lambda name: made.encoded(SMALL, name.upper())[:60], "."), (lambda name: b"", "."),
], ids=["EPS", "GIF", "TIFF", "another of ours", "another size", "cut short", "empty"])
@pytest.mark.parametrize("encoding", STORED)
def test_a_record_is_decoded_as_what_its_set_says(encoding: str, record: Callable[[str], bytes], words: str) -> None:
    data, image = record(encoding), STORED[encoding]
    assert (pixels_of(made.encoded(SMALL, encoding.upper()), image).shape) == (16, 16, 3)
    with pytest.raises((ValueError, OSError), match=words):
        pixels_of(data, image)
    with pytest.raises((ValueError, OSError)):
        decode_into(np.empty((16, 16, 3), np.uint8), data, image)


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000)], ids=["above Pillow's limit", "below it"])
def test_a_record_that_claims_to_be_huge_is_refused_undecoded(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pixels"):
        pixels_of(claims(*size), ImageFormat(16, 1, "png"))


def photos(path: Path, profile: bytes) -> Path:
    return made.write_files(path, {f"{i}.png": made.encoded(FLAT, "PNG", icc_profile=profile) for i in range(4)})


def test_the_conversion_is_recorded_and_made_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """In the set's manifest and prepare.json; a second preparation, from the first one's images, changes nothing."""
    for name, profile in (("p3", made.DISPLAY_P3), ("plain", b"")):
        photos(tmp_path / name, profile)
        main([str(tmp_path / name), str(tmp_path / f"{name}_set"), "--resolution", "32", "--encoding", "png",
              "--workers", "1"])
    said = capsys.readouterr().out
    assert said.count("4 images have an embedded colour profile and were converted to sRGB") == 1
    manifests = {name: json.loads((tmp_path / f"{name}_set" / "manifest.json").read_text()) for name in ("p3", "plain")}
    assert manifests["p3"]["image"]["colour"] == "sRGB" and "colour" not in manifests["plain"]["image"]
    facts = [json.loads((tmp_path / f"{name}_set" / "prepare.json").read_text()) for name in ("p3", "plain")]
    assert [one["converted_to_srgb"] for one in facts] == [4, 0]
    assert main([str(tmp_path / "p3_set"), "--verify"]) == 0
    stored = open_images(str(tmp_path / "p3_set"))
    assert np.abs(stored.read(0) - IN_SRGB).max() < 1
    data = next(iter(stored.reader.stored(np.array([0]))))
    assert not is_converted(data) and (read_picture(data) == stored.read(0)).all()
    assert Manifest.load(tmp_path / "p3_set").image.colour == "sRGB"
    assert len(Index.load(tmp_path / "p3_set" / "index.safetensors").labels) == 0


@pytest.mark.parametrize("backend", [lambda path: FolderReader(path, 32).manifest.content,
                                     lambda path: open_images(str(path)).content], ids=["training", "evaluation"])
def test_content_tells_converted_images_from_those_of_before(backend: Callable[[Path], str], tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """So neither a run nor a cache of features goes on with other pixels under the same content."""
    tagged, plain = photos(tmp_path / "p3", made.DISPLAY_P3), photos(tmp_path / "srgb", made.SRGB)
    after = [backend(tagged), backend(plain)]
    for module in ("data.reading.folder", "metrics.images"):
        monkeypatch.setattr(f"scalegan.{module}.is_converted", lambda data: False)      # as before
    before = [backend(tagged), backend(plain)]
    assert before[0] != after[0] and before[1] == after[1]


def test_a_grey_set_keeps_its_grey_pictures_with_alpha(tmp_path: Path) -> None:
    path = made.write_files(tmp_path / "grey", {"1.png": saved(grey()), "2.png": saved(with_alpha("L")),
                                                "3.gif": saved(grey("P"), "GIF")})
    reader = FolderReader(path, 16)
    assert reader.manifest.image.channels == 1 and reader.pixels(1).shape == (16, 16, 1)
    with pytest.raises(UserError, match="does not exist"):
        FolderReader(tmp_path / "none", 16)
