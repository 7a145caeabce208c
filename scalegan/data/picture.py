"""Turns a source's picture, of any format, into the square that is stored: decode, crop, resize."""

import io
import threading
from contextlib import suppress

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from scalegan.data.colour_profiles import in_srgb, is_transparent, transform_of
from scalegan.data.silence import silence_decoders

silence_decoders()

FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC, "box": Image.Resampling.BOX}
CROPS = ("center", "celeba178", "celeba108", "none")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")    # none that runs other programs, as EPS does
CELEBA_SIZE = (218, 178)        # height and width of CelebA's aligned images
_EXIF_ORIENTATION = 0x0112
_MAX_PIXELS = 1 << 28           # a larger picture is a decompression bomb, not a photo
_TIFF = (b"II*\0", b"MM\0*")
_opening = threading.Lock()


def read_picture(data: bytes) -> np.ndarray:
    """uint8 [H, W, C], C = 1 for grey and 3 for colour, in sRGB, upright, on white where it is transparent.

    Raises:
        ValueError: if the bytes are not a complete picture of 8 bits per channel, with a reason for `rejected.jsonl`.
    """
    if not data:
        raise ValueError("the record is empty")
    try:
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
            raise ValueError(f"it is not {'one of ' * (len(formats) > 1)}{', '.join(formats)}") from None
        except Image.DecompressionBombError:
            raise ValueError("the picture has more than the limit of 2^28 pixels; downscale it first") from None
        finally:
            Image.MAX_IMAGE_PIXELS = before
    _check_size(picture.height, picture.width)
    return picture


def is_converted(data: bytes) -> bool:
    """Whether a picture has an embedded profile from which `read_picture` converts its colours to sRGB."""
    if not (b"ICC_PROFILE\0" in data or b"iCCP" in data or b"ICCP" in data or data[:4] in _TIFF):
        return False
    try:
        return transform_of(open_picture(data)) is not None
    except Exception:           # damaged: `read_picture` says how
        return False


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


def _jpeg(data: bytes) -> np.ndarray:
    """Decodes with libjpeg-turbo, strictly: what it calls recoverable counts as damage."""
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(height, width)
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
    return open_picture(data, ("JPEG",)).getexif().get(_EXIF_ORIENTATION, 1)


def _with_pillow(data: bytes) -> np.ndarray:
    picture = open_picture(data)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"it has more than 8 bits per channel (mode {picture.mode}); convert it to 8 bits first, for "
                         "example with ImageMagick: magick IN -depth 8 OUT.png")
    picture = ImageOps.exif_transpose(picture)
    grey = picture.mode in ("1", "L", "LA") or (picture.mode in ("P", "PA") and _is_grey_palette(picture))
    picture = in_srgb(picture)
    if is_transparent(picture):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    pixels = np.array(picture.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels


def _is_grey_palette(picture: Image.Image) -> bool:
    """Whether all colours that a picture with a palette shows are grey."""
    red, green, blue, alpha = np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0)
    return bool((((red == green) & (green == blue)) | (alpha == 0)).all())


def _check_size(height: int, width: int) -> None:
    if height * width > _MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than the limit of 2^28 pixels; downscale it first")


def crop(pixels: np.ndarray, how: str) -> np.ndarray:
    """Cuts a square from [H, W, C]. Raises ValueError if `how` does not apply to a picture of that size."""
    height, width = pixels.shape[:2]
    if how == "none":
        if height != width:
            raise ValueError(f"{width} x {height} is not square, as --crop none requires")
        return pixels
    side = min(height, width)
    if how != "center":
        side = int(how.removeprefix("celeba"))
        if (height, width) != CELEBA_SIZE:
            raise ValueError(f"{width} x {height} is not CelebA's 178 x 218, which --crop {how} requires")
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def resize(square: np.ndarray, size: int, channels: int, filter: str) -> np.ndarray:
    """uint8 [size, size, channels]. The support of Pillow's filters grows with the reduction, so nothing aliases."""
    picture = Image.fromarray(square[..., 0] if square.shape[2] == 1 else np.ascontiguousarray(square))
    mode = "L" if channels == 1 else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    if picture.size != (size, size):
        picture = picture.resize((size, size), FILTERS[filter])
    return np.asarray(picture).reshape(size, size, channels)
