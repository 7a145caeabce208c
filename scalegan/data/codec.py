"""Converts stored bytes to pixels and back without torch, so that reading data alone need not wait for its import."""

import io

import numpy as np
import simplejpeg
from PIL import Image

from scalegan.data.manifest import ImageFormat
from scalegan.data.picture import open_picture


def decode_into(out: np.ndarray, data: bytes, image: ImageFormat) -> None:
    """Fills `out`, uint8 or uint16 [H, W, C], or uint8 [1, D, H, W]. Raises ValueError or OSError if the bytes are not
    an image of that format."""
    if image.encoding != "jpeg":
        out[...] = pixels_of(data, image)
        return
    pixels = simplejpeg.decode_jpeg(data, "RGB" if image.channels == 3 else "GRAY", buffer=out)
    if pixels.shape != out.shape:
        raise ValueError(f"its shape is {pixels.shape}, not {out.shape}")


def pixels_of(data: bytes, image: ImageFormat) -> np.ndarray:
    """uint8 or uint16 [H, W, C], or uint8 [1, D, H, W] of a volume. Raises ValueError or OSError if the bytes are not
    an image of that format."""
    if image.encoding == "raw":
        pixels = np.frombuffer(data, image.dtype.newbyteorder("<")).reshape(image.shape).astype(image.dtype)
    elif image.encoding == "jpeg":
        _check_side(simplejpeg.decode_jpeg_header(data)[:2], image)
        pixels = simplejpeg.decode_jpeg(data, "RGB" if image.channels == 3 else "Gray")
    else:
        pixels = _with_pillow(data, image)
    return pixels.reshape(image.shape)


def _with_pillow(data: bytes, image: ImageFormat) -> np.ndarray:
    """Takes no format but the set's, as each decoder is another door for bytes from elsewhere."""
    try:
        picture = open_picture(data, (image.encoding.upper(),))
        if not image.is_photo:
            return _planes(picture, image)
        _check_side((picture.height, picture.width), image)
        return np.array(picture.convert("RGB" if image.channels == 3 else "L"))
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes, Pillow's readers raise exceptions of any type
        raise ValueError(str(error) or type(error).__name__) from error


def _planes(picture: Image.Image, image: ImageFormat) -> np.ndarray:
    """The channels of a grey picture that has one below the other."""
    height, width = image.sides
    if picture.size != (width, height * image.channels) or picture.mode.startswith("I") != (image.depth == 16):
        raise ValueError(f"it is not a grey picture of {image.channels} x {height} rows of {width} pixels with "
                         f"{image.depth} bits")
    return np.array(picture, image.dtype).reshape(image.channels, height, width).transpose(1, 2, 0)


def _check_side(shape: tuple[int, ...], image: ImageFormat) -> None:
    """Before the pixels are decoded: a small record may claim any size."""
    if tuple(shape) != image.sides:
        height, width = image.sides
        raise ValueError(f"it has {shape[1]} x {shape[0]} pixels, not {width} x {height}")


def encode(pixels: np.ndarray, image: ImageFormat, coarse_colour: bool = False) -> bytes:
    """uint8 or uint16 [H, W, C], or uint8 [1, D, H, W], to stored bytes; `coarse_colour` stores a JPEG's colour at half
    resolution (4:2:0). Other images than photos become grey PNGs with one channel below the other."""
    if image.encoding == "raw":
        return pixels.astype(image.dtype.newbyteorder("<")).tobytes()
    if image.encoding == "jpeg":
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), image.quality or 95,
                                      "RGB" if image.channels == 3 else "GRAY", "420" if coarse_colour else "444")
    buffer = io.BytesIO()
    if not image.is_photo:
        pixels = pixels.transpose(2, 0, 1).reshape(-1, pixels.shape[1], 1)
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    options = {"quality": image.quality or 95, "method": 4} if image.encoding == "webp" else {"optimize": True}
    picture.save(buffer, format=image.encoding.upper(), **options)
    return buffer.getvalue()
