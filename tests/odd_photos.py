"""Photos as users have them, and files that only look like photos."""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

_UPRIGHT = Image.Transpose
# How a camera stores a picture, by the EXIF orientation that makes viewers turn it back.
STORED = {1: None, 2: _UPRIGHT.FLIP_LEFT_RIGHT, 3: _UPRIGHT.ROTATE_180, 4: _UPRIGHT.FLIP_TOP_BOTTOM,
          5: _UPRIGHT.TRANSPOSE, 6: _UPRIGHT.ROTATE_90, 7: _UPRIGHT.TRANSVERSE, 8: _UPRIGHT.ROTATE_270}


def picture(height: int = 24, width: int = 40, mode: str = "RGB") -> Image.Image:
    """Smooth colours, the same for the same size."""
    small = np.random.default_rng(height * width).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned(orientation: int, format: str = "PNG") -> bytes:
    exif, how = Image.Exif(), STORED[orientation]
    exif[0x0112] = orientation
    return saved(picture() if how is None else picture().transpose(how), format, exif=exif)


def deep(values: np.ndarray, format: str = "PNG") -> bytes:
    return saved(Image.fromarray(values), format)


def transparent(mode: str) -> Image.Image:
    image = picture(mode="RGB" if mode == "RGBA" else "L").convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def animated(format: str) -> bytes:
    return saved(picture(), format, save_all=True, append_images=[picture().rotate(180)])


def zipped(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


_GREY = np.asarray(picture(mode="L")).astype(np.uint16)
_LARGE_JPEG, _LARGE_PNG = (saved(picture(200, 200), format) for format in ("JPEG", "PNG"))

# File: its bytes, and the mode and size (width, height) of its result at the photo's size, from a network whose answers
# have colour; None if it must be named and left out.
ODD: dict[str, tuple[bytes, tuple[str, tuple[int, int]] | None]] = {
    "a.png": (saved(picture()), ("RGB", (40, 24))), "UPPER.JPG": (saved(picture(), "JPEG"), ("RGB", (40, 24))),
    "sub/deeper/b.webp": (saved(picture(), "WEBP"), ("RGB", (40, 24))),
    "sub/a.png": (saved(picture()), ("RGB", (40, 24))), "before/a.png": (saved(picture()), ("RGB", (40, 24))),
    "folder.png/c.bmp": (saved(picture(), "BMP"), ("RGB", (40, 24))),
    **{f"turned {number}.png": (turned(number), ("RGB", (40, 24))) for number in STORED},
    "turned.jpg": (turned(6, "JPEG"), ("RGB", (40, 24))),
    "broken exif.jpg": (saved(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"), ("RGB", (40, 24))),
    "progressive.jpg": (saved(picture(), "JPEG", progressive=True), ("RGB", (40, 24))),
    "cmyk.jpg": (saved(picture(mode="CMYK"), "JPEG"), ("RGB", (40, 24))),
    "grey.png": (saved(picture(mode="L")), ("RGB", (40, 24))),
    "sixteen.png": (deep(_GREY * 257), ("RGB", (40, 24))), "sixteen bits.tiff": (deep(_GREY * 257, "TIFF"),
                                                                           ("RGB", (40, 24))),
    "bits.tif": (saved(picture(mode="1"), "TIFF"), ("RGB", (40, 24))),
    "palette.gif": (saved(picture(mode="P"), "GIF"), ("RGB", (40, 24))),
    "clear palette.png": (saved(picture().quantize(8), transparency=3), ("RGBA", (40, 24))),
    "clear colour.png": (saved(picture(mode="L"), transparency=99), ("RGBA", (40, 24))),
    "alpha.png": (saved(transparent("RGBA")), ("RGBA", (40, 24))),
    "grey alpha.png": (saved(transparent("LA")), ("RGBA", (40, 24))),
    "animated.gif": (animated("GIF"), ("RGB", (40, 24))), "moving.webp": (animated("WEBP"), ("RGB", (40, 24))),
    "one pixel.png": (saved(picture(1, 1)), ("RGB", (1, 1))), "wide.png": (saved(picture(1, 500)), ("RGB", (500, 1))),
    "tall.png": (saved(picture(2000, 3)), ("RGB", (3, 2000))), "small.png": (saved(picture(5, 7)), ("RGB", (7, 5))),
    "two.suffixes.jpg.png": (saved(picture()), ("RGB", (40, 24))), f"{'n' * 251}.png": (saved(picture()),
                                                                                       ("RGB", (40, 24))),
    "umlaut \u00e4 \u732b.png": (saved(picture()), ("RGB", (40, 24))),
    "line\nbreak.png": (saved(picture()), ("RGB", (40, 24))),
    os.fsdecode(b"latin \xff.png"): (saved(picture()), ("RGB", (40, 24))),
    "broken.png": (_LARGE_PNG[:-3000], None), "broken.jpg": (_LARGE_JPEG[:-3000], None), "empty.jpg": (b"", None),
    "text.jpg": (b"not an image", None), "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
    "float.tif": (deep(np.ones((4, 4), np.float32), "TIFF"), None),
    "thirty-two.tif": (deep(_GREY.astype(np.int32) * 99_999, "TIFF"), None),
}
LINKS = {"loop.png": "loop.png", "dangling.png": "nowhere.png"}
GOOD = {name: result for name, (_, result) in ODD.items() if result is not None}
BAD = [*(name for name, (_, result) in ODD.items() if result is None), *LINKS, "pipe.png"]


def write_odd(folder: Path) -> None:
    for name, (data, _) in ODD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.png")
    (folder / "round").symlink_to(folder)
