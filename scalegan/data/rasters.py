"""Images that are no photos: any channels, 8 or 16 bits, or alpha that is kept; of PNG, TIFF, PPM and NumPy files."""

import io
import math
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps

from scalegan.data.arrays import NPY, read_npy
from scalegan.data.colour_profiles import in_srgb, is_transparent, levels_in_srgb
from scalegan.data.manifest import MOST_CHANNELS, ImageFormat
from scalegan.data.picture import (
    EXIF_ORIENTATION,
    FILTERS,
    PAD_LEVELS,
    TIFF,
    Fitted,
    check_size,
    crop,
    inner_sides,
    is_converted,
    is_deep,
    open_picture,
    read_picture,
)

_PNG, _DEPTH_BYTE = b"\x89PNG\r\n\x1a\n", 24    # where a PNG says its bits per channel
_NETPBM = (b"P2", b"P3", b"P5", b"P6")
_Oriented = tuple[np.ndarray, int]      # an image, and the EXIF orientation in which it is to be shown
_MULTIPLIED = 1     # what a TIFF calls alpha by which colours are multiplied


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
    most = np.iinfo(pixels.dtype).max
    options = {"mode": "edge"} if fill == "edge" else {"constant_values": PAD_LEVELS[fill] * most // 255}
    resized = _resized(pixels, inner, image.filter)
    padded = np.pad(resized, [*margins, (0, 0)], **options)
    if image.alpha and fill != "edge":      # what is filled is opaque
        padded[..., -1] = np.pad(resized[..., -1], margins, constant_values=most)
    return Fitted(padded, scale, 0.0)


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
    found = None
    if data.startswith(TIFF):
        found = _tiff(data, image.alpha)
    elif data.startswith(_PNG) and len(data) > _DEPTH_BYTE and data[_DEPTH_BYTE] == 16:
        found = _deep_png(data)
    elif data.startswith(_NETPBM):
        found = _deep_netpbm(data)
    if found is None:
        return _with_alpha(data) if image.alpha else read_picture(data)
    pixels, orientation = found
    if holds_colours(image) and pixels.shape[2] <= 4 and is_converted(data):
        pixels = levels_in_srgb(pixels, open_picture(data))
    return _upright(_over_white(pixels) if image.alpha and pixels.shape[2] in (2, 4) else pixels, orientation)


def holds_colours(image: ImageFormat) -> bool:
    """Whether a set's channels are grey or RGB, maybe with alpha, which are stored in sRGB."""
    return image.channels - image.alpha in (1, 3)


def _tiff(data: bytes, alpha: bool) -> _Oriented | None:
    """The first page, with the channels last and white as the highest number. None for pages whose numbers are not
    levels of 8 bits or more, such as palettes, which Pillow reads."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        series = file.series[0]
        shape, axes, page = series.shape, series.axes, series.keyframe
        bits, kinds = np.max(page.bitspersample), tifffile.PHOTOMETRIC
        kind = page.tags.valueof("PhotometricInterpretation", default=kinds.MINISBLACK)
        if bits < 8 or kind in (kinds.PALETTE, kinds.CIELAB):
            return None
        samples = "S" if "S" in axes else next((axis for axis in "CQI" if axis in axes), "")
        if sorted(axes) != sorted(f"YX{samples}"):
            raise ValueError(f"it holds {' x '.join(map(str, shape))} numbers along the axes {axes}, not one image")
        height, width = shape[axes.index("Y")], shape[axes.index("X")]
        check_size(height, width)
        if math.prod(shape) > MOST_CHANNELS << 26:
            raise ValueError(f"{math.prod(shape):,} numbers are more than the limit of 2^30; downscale it first")
        pixels = series.asarray()
        extra, orientation = page.extrasamples, page.tags.valueof(EXIF_ORIENTATION, default=1)
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise ValueError(f"its numbers are {pixels.dtype}, not uint8 or uint16; scale them to one of these first")
    pixels = pixels.transpose([axes.index(axis) for axis in f"YX{samples}"]).reshape(height, width, -1)
    most = np.iinfo(pixels.dtype).max
    if bits < 8 * pixels.dtype.itemsize:
        pixels = np.rint(pixels * (most / (2 ** bits - 1))).astype(pixels.dtype)
    if kind == kinds.MINISWHITE:
        inks = pixels.shape[2] - len(extra)
        pixels = np.concatenate([most - pixels[..., :inks], pixels[..., inks:]], 2)
    if alpha and kind == kinds.SEPARATED:
        raise ValueError("its colours are CMYK, without alpha; convert it to RGB")
    if alpha and extra == (_MULTIPLIED,):
        share = np.maximum(pixels[..., -1:], 1) / most
        pixels = np.concatenate([np.rint(pixels[..., :-1] / share).clip(0, most).astype(pixels.dtype),
                                 pixels[..., -1:]], 2)
    return pixels, orientation


def _deep_png(data: bytes) -> _Oriented:
    import imagecodecs

    picture = open_picture(data, ("PNG",))      # checks its size, before it is decoded
    pixels = imagecodecs.png_decode(data).reshape(picture.height, picture.width, -1)
    return pixels, picture.getexif().get(EXIF_ORIENTATION, 1) if b"eXIf" in data else 1


def _deep_netpbm(data: bytes) -> _Oriented | None:
    """A PPM or PGM of more than 8 bits, scaled to 16; None for others."""
    picture = open_picture(data, ("PPM",))
    if not is_deep(picture):
        return None
    codec, _, offset, layout = picture.tile[0]
    sides = picture.height, picture.width, len(picture.getbands())
    count, most = math.prod(sides), 65535 if isinstance(layout, str) else layout[-1]
    levels = np.array(data[offset:].split(maxsplit=count)[:count], np.int64) if codec == "ppm_plain" else \
        np.frombuffer(data, ">u2", count, offset)
    return np.rint(levels.clip(0, most).reshape(sides) * (65535 / most)).astype(np.uint16), 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """An image as its file's EXIF orientation wants it shown."""
    pixels = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    down, across = (-1 if orientation in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(pixels[::down, ::across])


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
