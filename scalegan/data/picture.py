"""Turns a source's picture, of any format, into the image that is stored: decode, crop, resize, pad."""

import io
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from scalegan.data.arrays import NPY, read_npy
from scalegan.data.colour_profiles import in_srgb, is_transparent, transform_of
from scalegan.data.manifest import MOST_CHANNELS
from scalegan.data.silence import silence_decoders

silence_decoders()

FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC, "box": Image.Resampling.BOX}
CROPS = ("center", "celeba178", "celeba108", "none")
PADS = ("black", "white", "edge")       # what fills a picture of another ratio; such crops are pad-black, ...
PAD_LEVELS = {"black": 0, "white": 255}
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")    # none that runs other programs, as EPS does
CELEBA_SIZE = (218, 178)        # height and width of CelebA's aligned images
EXIF_ORIENTATION = 0x0112
_TIFF_BITS = 0x0102             # the tag that says the bits of each channel
_TIFF_KIND = 0x0106             # and the one that says what they mean, 0 that the highest level is black
_MAX_PIXELS = 1 << 28           # a larger picture is a decompression bomb, not a photo
_FEW_LEVELS = {"1": 255, "L;2": 85, "L;4": 17}     # how Pillow calls PNGs of less than 8 bits, and the step of a level
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")     # and BigTIFF
_opening = threading.Lock()


def read_picture(data: bytes) -> np.ndarray:
    """uint8 [H, W, C], C = 1 for grey and 3 for colour, in sRGB, upright, on white where it is transparent.

    Raises:
        ValueError: if the bytes are not a complete picture of 8 bits per channel, with a reason for `rejected.jsonl`.
    """
    if not data:
        raise ValueError("the record is empty")
    try:
        if data.startswith(NPY):
            return _of_npy(data)
        return _jpeg(data) if data[:2] == b"\xff\xd8" else _with_pillow(data)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes, Pillow's readers raise exceptions of any type
        raise ValueError(str(error) or type(error).__name__) from error


def open_picture(data: bytes, formats: tuple[str, ...] = _FORMATS) -> Image.Image:
    """Pillow's picture, pixels not yet decoded; it is in one of `formats`, whatever its name, and not too large.

    Raises:
        ValueError: if it is in another format, or has too many pixels. Pillow may raise anything on damaged bytes.
    """
    with _opening:      # Pillow's limit, which also guards the tiles and frames inside a picture, is a global
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _MAX_PIXELS // 2   # Pillow raises above twice this
        try:
            picture = Image.open(io.BytesIO(data), formats=formats)
        except UnidentifiedImageError:
            if data[:4] in TIFF and "TIFF" in formats:
                raise ValueError("it is a damaged TIFF, or one of other numbers than photos have; convert it to 8 "
                                 "bits, grey or RGB, or see --channels and --depth of `scalegan prepare`") from None
            raise ValueError(f"it is not {'one of ' * (len(formats) > 1)}{', '.join(formats)}") from None
        except Image.DecompressionBombError:
            raise ValueError("the picture has more than the limit of 2^28 pixels; downscale it first") from None
        finally:
            Image.MAX_IMAGE_PIXELS = before
    check_size(picture.height, picture.width)
    _scale_transparency(picture)
    return picture


def _scale_transparency(picture: Image.Image) -> None:
    """Pillow scales the levels of a PNG to 8 bits, but leaves the one that is transparent as the file has it."""
    level = picture.info.get("transparency")
    if picture.format != "PNG" or not isinstance(level, (int, tuple)):
        return
    if (layout := _layout(picture)) in _FEW_LEVELS:
        picture.info["transparency"] = min(255, level * _FEW_LEVELS[layout])
    elif layout == "RGB;16B":
        picture.info["transparency"] = tuple(value >> 8 for value in level)


def is_converted(data: bytes) -> bool:
    """Whether a picture has an embedded profile from which `read_picture` converts its colours to sRGB."""
    if not (b"ICC_PROFILE\0" in data or b"iCCP" in data or b"ICCP" in data or data[:4] in TIFF):
        return False
    try:
        return transform_of(open_picture(data)) is not None
    except Exception:           # damaged: `read_picture` says how
        return False


def has_16_bits(data: bytes) -> bool:
    """Whether a readable picture has more than 8 bits per channel, of which `read_picture` keeps the upper 8."""
    return (data.startswith((b"\x89PNG", b"P3", b"P6")) or data[:4] in TIFF) and is_deep(open_picture(data))


def has_subsampled_chroma(data: bytes) -> bool:
    """Whether a readable picture has subsampled chroma: a 4:2:0 JPEG, or a lossy WebP."""
    if data[:2] == b"\xff\xd8":
        return simplejpeg.decode_jpeg_header(data)[3] == "420"
    return data[:4] == b"RIFF" and data[12:16] == b"VP8 "


def all_grey(pictures: list[bytes | np.ndarray | Exception]) -> bool:
    """Whether every readable picture is grey, and at least one is readable."""
    channels = set()
    for picture in pictures:
        with suppress(ValueError):
            if not isinstance(picture, Exception):
                channels.add((read_picture(picture) if isinstance(picture, bytes) else picture).shape[2])
    return channels == {1}


def _of_npy(data: bytes) -> np.ndarray:
    pixels = read_npy(data)
    channels = pixels.shape[2]
    if pixels.dtype != np.uint8 or channels not in (1, 3):
        remedy = f"`scalegan prepare --channels {channels}{' --depth 16' * (pixels.dtype != np.uint8)}` keeps them" \
            if channels <= MOST_CHANNELS else f"at most {MOST_CHANNELS} can be kept; arrays are [H, W, channels]"
        raise ValueError(f"it has {channels} channels of {8 * pixels.dtype.itemsize} bits; {remedy}")
    return pixels


def _jpeg(data: bytes) -> np.ndarray:
    """Decodes with libjpeg-turbo, strictly: what it calls recoverable counts as damage."""
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    check_size(height, width)
    if space in ("CMYK", "YCCK") or _orientation(data) != 1:
        return _with_pillow(data)
    pixels = simplejpeg.decode_jpeg(data, "GRAY" if space.upper() == "GRAY" else "RGB")
    if b"ICC_PROFILE\0" not in data:
        return pixels
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    picture.info["icc_profile"] = open_picture(data, ("JPEG",)).info.get("icc_profile")
    return np.array(in_srgb(picture)).reshape(pixels.shape)


def _orientation(data: bytes) -> int:
    if b"Exif\0\0" not in data:
        return 1
    return open_picture(data, ("JPEG",)).getexif().get(EXIF_ORIENTATION, 1)


def _with_pillow(data: bytes) -> np.ndarray:
    picture = open_picture(data)
    if picture.mode.startswith(("I", "F")) or has_deep_planes(picture):
        kept = "" if picture.mode == "F" else "keep them with `scalegan prepare --depth 16`, or "
        raise ValueError(f"it has more than 8 bits per channel (mode {picture.mode}); {kept}convert it to 8 bits "
                         "first, for example with ImageMagick: magick IN -depth 8 OUT.png")
    picture = turned(picture)
    grey = picture.mode in ("1", "L", "LA") or (picture.mode in ("P", "PA") and _is_grey_palette(picture))
    picture = in_srgb(picture)
    if is_transparent(picture):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    pixels = np.array(picture.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels


def turned(picture: Image.Image) -> Image.Image:
    """A picture just opened, upright, and LA where it is grey with alpha of 16 bits, of which Pillow makes RGBA."""
    deep_grey = _layout(picture) == "LA;16B"
    picture = ImageOps.exif_transpose(picture)
    return picture.convert("LA") if deep_grey else picture


def _layout(picture: Image.Image) -> str | tuple:
    """What Pillow calls the layout of the numbers in a PNG, or in a PPM, there with the largest number."""
    return picture.tile[0].args if picture.tile else ""


def is_deep(picture: Image.Image) -> bool:
    """Whether it has more than 8 bits per channel in its file."""
    if picture.format == "TIFF":
        return max(picture.tag_v2.get(_TIFF_BITS, (8,))) > 8
    layout = _layout(picture)
    return "16" in layout if isinstance(layout, str) else layout[-1] > 255


def deep_grey_levels(picture: Image.Image) -> tuple[int, bool]:
    """The highest level of a grey picture of 9 to 16 bits, just opened, and whether it is black: Pillow gives them as
    the file has them."""
    if picture.format != "TIFF":
        return 65535, False
    return 2 ** max(picture.tag_v2.get(_TIFF_BITS, (16,))) - 1, picture.tag_v2.get(_TIFF_KIND) == 0


def has_deep_planes(picture: Image.Image) -> bool:
    """Whether it is a TIFF of one plane per channel that Pillow takes for one of 8 bits, and reads wrongly."""
    colours = picture.format == "TIFF" and not picture.mode.startswith(("I", "F"))
    return colours and is_deep(picture) and ";16" not in str(picture.tile)


def _is_grey_palette(picture: Image.Image) -> bool:
    """Whether all colours that a picture with a palette shows are grey."""
    red, green, blue, alpha = np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0)
    return bool((((red == green) & (green == blue)) | (alpha == 0)).all())


def check_size(height: int, width: int) -> None:
    if height * width > _MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than the limit of 2^28 pixels; downscale it first")


class Fitted(NamedTuple):
    """A picture as it is stored.

    Args:
        pixels: uint8 [H, W, C].
        scale: pixels of it along a side, for each of the picture's.
        cut: share of the picture's pixels that it leaves out.
    """

    pixels: np.ndarray
    scale: float
    cut: float


def fit(pixels: np.ndarray, how: str, sides: tuple[int, int], channels: int, filter: str) -> Fitted:
    """A picture [H, W, C] in the form that a set stores.

    Args:
        how: one of `CROPS`, or pad- and one of `PADS`: nothing is cut, and borders fill what is missing.
        sides: height and width to make.

    Raises:
        ValueError: if `how` does not apply to a picture of that size.
    """
    if how.startswith("pad-"):
        return _padded(pixels, how.removeprefix("pad-"), sides, channels, filter)
    part = crop(pixels, how, sides)
    return Fitted(resize(part, sides, channels, filter), sides[0] / part.shape[0],
                  1 - part.shape[0] * part.shape[1] / (pixels.shape[0] * pixels.shape[1]))


def crop(pixels: np.ndarray, how: str, sides: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Cuts the middle from [H, W, C], in the ratio of (height, width). Raises ValueError if `how` does not apply to a
    picture of that size."""
    height, width = pixels.shape[:2]
    down, across = _largest(height, width, sides)
    if how == "none":
        if (down, across) != (height, width):
            shape = "square" if sides[0] == sides[1] else f"of the ratio {sides[1]} : {sides[0]}"
            raise ValueError(f"{width} x {height} is not {shape}, as --crop none requires; --crop center cuts it, and "
                             "--pad fills it")
        return pixels
    if how != "center":
        if sides[0] != sides[1]:
            raise ValueError(f"--crop {how} cuts squares; use --crop center")
        down = across = int(how.removeprefix("celeba"))
        if (height, width) != CELEBA_SIZE:
            raise ValueError(f"{width} x {height} is not CelebA's 178 x 218, which --crop {how} requires")
    top, left = (height - down) // 2, (width - across) // 2
    return pixels[top : top + down, left : left + across]


def resize(picture: np.ndarray, sides: int | Sequence[int], channels: int, filter: str) -> np.ndarray:
    """uint8 [*sides, channels], for a square's side or a height and width. The support of Pillow's filters
    grows with the reduction, so nothing aliases."""
    height, width = (sides, sides) if isinstance(sides, int) else sides
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else np.ascontiguousarray(picture))
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    if image.size != (width, height):
        image = image.resize((width, height), FILTERS[filter])
    return np.asarray(image).reshape(height, width, channels)


def _largest(height: int, width: int, sides: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest part of a picture in the ratio of `sides`, in whole pixels."""
    if height * sides[1] <= width * sides[0]:
        return height, max(1, min(width, round(height * sides[1] / sides[0])))
    return max(1, min(height, round(width * sides[0] / sides[1]))), width


def inner_sides(shape: Sequence[int], sides: tuple[int, int],
                ) -> tuple[float, tuple[int, int], list[tuple[int, int]]]:
    """How a picture of (height, width, ...) fits into others without being cut: its scale, its sides there, and the
    margins around it."""
    scale = min(side / length for side, length in zip(sides, shape))
    height, width = (max(1, min(side, round(length * scale))) for side, length in zip(sides, shape))
    return scale, (height, width), [((side - length) // 2, side - length - (side - length) // 2)
                                    for side, length in zip(sides, (height, width))]


def _padded(pixels: np.ndarray, fill: str, sides: tuple[int, int], channels: int, filter: str) -> Fitted:
    """Resizes first: a narrow picture, padded as it is, might not fit the memory."""
    scale, inner, margins = inner_sides(pixels.shape, sides)
    options = {"mode": "edge"} if fill == "edge" else {"constant_values": PAD_LEVELS[fill]}
    return Fitted(np.pad(resize(pixels, inner, channels, filter), [*margins, (0, 0)], **options), scale, 0.0)
