"""Embedded ICC profiles: pictures are converted to sRGB, which networks and viewers assume."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_SAME = 2       # levels, of 255, by which the many sRGB profiles differ from each other
# What a profile applies to, by the picture's mode; anything else is colour.
_COLOURS = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}


def transform_of(picture: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The conversion of the picture's colours to sRGB; None if it has no profile, an sRGB profile, or one that does not
    fit it, which viewers ignore too."""
    profile = picture.info.get("icc_profile")
    return _transform(profile, _COLOURS.get(picture.mode, "RGB")) if profile else None


def in_srgb(picture: Image.Image) -> Image.Image:
    """The picture in sRGB: converted, in mode L, LA, RGB or RGBA, or unchanged if that is not needed."""
    transform = transform_of(picture)
    if transform is None:
        return picture
    transparent = is_transparent(picture)
    alpha = picture.convert("RGBA").getchannel("A") if transparent else None
    mode = transform.input_mode
    source = picture.convert("RGBA") if transparent and mode == "RGB" else picture  # needed for palettes to lose alpha
    colours = transform.apply(source.convert(mode))
    if mode == "L":
        colours = colours.convert("L")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def levels_in_srgb(levels: np.ndarray, picture: Image.Image) -> np.ndarray:
    """The levels [H, W, C] of a picture of grey or RGB, maybe with alpha, converted as `in_srgb` does; of 8 or 16 bits,
    of which Pillow would keep 8."""
    if transform_of(picture) is None:
        return levels
    import imagecodecs

    colours, space = (3, "rgb") if levels.shape[2] >= 3 else (1, "gray")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = imagecodecs.cms_transform(np.ascontiguousarray(levels[..., :3] if colours == 3 else levels[..., 0]),
                                      picture.info["icc_profile"], srgb, colorspace=space, outcolorspace="rgb",
                                      intent=_INTENT, flags=_FLAGS)
    return np.concatenate([found[..., :colours], levels[..., colours:]], 2)


def is_transparent(picture: Image.Image) -> bool:
    """Whether the picture has an alpha channel, or names a transparent colour."""
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB", _INTENT, _FLAGS)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):      # damaged, or for pictures of another mode
        return None
    return None if mode != "CMYK" and _changes_nothing(found) else found


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    if transform.input_mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        expected = np.stack([probe] * 3, 2)
    else:
        levels = np.linspace(0, 255, 18).astype(np.uint8)
        probe = expected = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)
    found = np.asarray(transform.apply(Image.fromarray(probe)))
    return int(np.abs(found.astype(int) - expected).max()) <= _SAME
