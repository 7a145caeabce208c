"""Images that are not photos: any channels, 8 or 16 bits, or alpha that is kept; from PNG, TIFF and NumPy's files."""

import io
import math
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps

from scalegan.data.arrays import NPY, read_npy
from scalegan.data.colour_profiles import in_srgb, is_transparent
from scalegan.data.manifest import MOST_CHANNELS, ImageFormat
from scalegan.data.picture import (
    FILTERS,
    PAD_LEVELS,
    TIFF,
    Fitted,
    check_size,
    crop,
    inner_sides,
    open_picture,
    read_picture,
)

_PNG, _DEPTH_BYTE = b"\x89PNG\r\n\x1a\n", 24    # where a PNG says its bits per channel


def read_raster(data: bytes, image: ImageFormat) -> np.ndarray:
    """[H, W, image.channels] in image.dtype. Pictures of 8 bits become 16 exactly, grey ones RGB where that is asked
    for; with image.alpha, the last channel is alpha (opaque where a picture has none), and the others are over white.

    Raises:
        ValueError: if the bytes are not an image of those channels and that depth.
    """
    if not data:
        raise ValueError("the record is empty")
    try:
        pixels = _decoded(data, image)
    except (ValueError, MemoryError):
        raise
    except ModuleNotFoundError:
        raise ValueError("reading it needs more packages; pip install 'scalegan[rasters]'") from None
    except Exception as error:      # on damaged bytes, readers raise exceptions of any type
        raise ValueError(str(error) or type(error).__name__) from error
    return _fitting(pixels, image)


def common_channels(pictures: Iterable[object]) -> int | None:
    """How many channels all readable ones of a source's pictures have; None if that differs."""
    counts = set()
    for picture in pictures:
        with suppress(Exception):           # whatever readers raise on damaged bytes
            pixels = _decoded(picture, ImageFormat(1, 3, "raw", depth=16)) if isinstance(picture, bytes) else picture
            counts.add(pixels.shape[2])
    return counts.pop() if len(counts) == 1 else None


def fit_raster(pixels: np.ndarray, image: ImageFormat) -> Fitted:
    """An image [H, W, C] as a set stores it; see `scalegan.data.picture.fit`. Each channel is filtered by itself.

    Raises:
        ValueError: if `image.crop` does not apply to an image of that size.
    """
    if not image.crop.startswith("pad-"):
        part = crop(pixels, image.crop, image.sides)
        return Fitted(_resized(part, image.sides, image.filter), image.sides[0] / part.shape[0],
                      1 - part.shape[0] * part.shape[1] / (pixels.shape[0] * pixels.shape[1]))
    fill = image.crop.removeprefix("pad-")
    scale, inner, margins = inner_sides(pixels.shape, image.sides)
    level = round(PAD_LEVELS.get(fill, 0) / 255 * np.iinfo(pixels.dtype).max)
    options = {"mode": "edge"} if fill == "edge" else {"constant_values": level}
    return Fitted(np.pad(_resized(pixels, inner, image.filter), [*margins, (0, 0)], **options), scale, 0.0)


def _resized(pixels: np.ndarray, sides: tuple[int, int], filter: str) -> np.ndarray:
    height, width = sides
    if pixels.shape[:2] == (height, width):
        return pixels
    most = np.iinfo(pixels.dtype).max
    planes = [np.asarray(Image.fromarray(plane.astype(np.float32)).resize((width, height), FILTERS[filter]))
              for plane in np.moveaxis(pixels, 2, 0)]
    return np.rint(np.stack(planes, 2)).clip(0, most).astype(pixels.dtype)


def _decoded(data: bytes, image: ImageFormat) -> np.ndarray:
    """[H, W, C], uint8 or uint16."""
    if data.startswith(NPY):
        return read_npy(data)
    if data.startswith(TIFF):
        pixels = _tiff(data)
        return _over_white(pixels) if image.alpha and pixels.shape[2] in (2, 4) else pixels
    if data.startswith(_PNG) and len(data) > _DEPTH_BYTE and data[_DEPTH_BYTE] == 16:
        pixels = _deep_png(data)
        has_alpha = pixels.shape[2] in (2, 4)
        return _over_white(pixels) if image.alpha and has_alpha else pixels
    return _with_alpha(data) if image.alpha else read_picture(data)


def _tiff(data: bytes) -> np.ndarray:
    """The first page, with the channels last."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        series = file.series[0]
        shape, axes = series.shape, series.axes
        samples = "S" if "S" in axes else next((axis for axis in "CQI" if axis in axes), "")
        if sorted(axes) != sorted(f"YX{samples}"):
            raise ValueError(f"it holds {' x '.join(map(str, shape))} numbers along the axes {axes}, not one image")
        check_size(shape[axes.index("Y")], shape[axes.index("X")])
        if math.prod(shape) > MOST_CHANNELS << 26:
            raise ValueError(f"{math.prod(shape):,} numbers are more than the limit of 2^30; downscale it first")
        pixels = series.asarray()
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise ValueError(f"its numbers are {pixels.dtype}, not uint8 or uint16; scale them to one of these first")
    return np.ascontiguousarray(pixels.transpose([axes.index(axis) for axis in f"YX{samples}"])
                                .reshape(shape[axes.index("Y")], shape[axes.index("X")], -1))


def _deep_png(data: bytes) -> np.ndarray:
    import imagecodecs

    picture = open_picture(data, ("PNG",))      # checks its size, before it is decoded
    pixels = imagecodecs.png_decode(data)
    return pixels.reshape(picture.height, picture.width, -1)


def _with_alpha(data: bytes) -> np.ndarray:
    """Colours over white, and alpha."""
    pixels = read_picture(data)
    picture = ImageOps.exif_transpose(open_picture(data))
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    if is_transparent(picture):
        alpha = np.asarray(in_srgb(picture).convert("RGBA").getchannel("A"))[..., None]
    return np.concatenate([pixels, alpha], 2)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Colours with alpha, put over white; alpha stays the last channel."""
    most = np.iinfo(pixels.dtype).max
    colours, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:] / most
    over = np.rint(colours * alpha + most * (1 - alpha)).astype(pixels.dtype)
    return np.concatenate([over, pixels[..., -1:]], 2)


def _fitting(pixels: np.ndarray, image: ImageFormat) -> np.ndarray:
    """The same with the channels and the depth of a set."""
    if image.alpha and pixels.shape[2] in (1, 3):
        pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max)], 2)
    found, colours = pixels.shape[2], image.channels - image.alpha
    if found - image.alpha == 1 and colours == 3:
        pixels = np.concatenate([pixels[..., :1].repeat(3, 2), pixels[..., 1:]], 2)
    elif found != image.channels:
        if image.alpha:
            raise ValueError("it is in colour; --channels 4 keeps that, with alpha")
        remedy = f"; --channels {found} keeps them" if found <= MOST_CHANNELS else ""
        raise ValueError(f"it has {found} channel{'s' * (found > 1)}, not {image.channels}{remedy}")
    if pixels.dtype.itemsize * 8 > image.depth:
        raise ValueError("it has 16 bits per channel; --depth 16 keeps them")
    return pixels.astype(np.uint16) * 257 if pixels.dtype != image.dtype else pixels
