"""Pictures of samples: grids of images, and 2-D points over the data."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from scalegan.data.pixels import shown, to_uint8
from scalegan.pictures.video import save_video
from scalegan.support.files import replacing

MOST_PIXELS = 100_000_000   # of a picture that is made in memory
_MOST_IMAGES = 1024         # of a grid that somebody looks at
_GAP = 12                   # between blocks of columns


def pixels_of(images: Tensor) -> np.ndarray:
    """Converts [N, C, H, W] in [-1, 1] to what is shown of it, uint8 [N, H, W, 1 or 3], rounded and clamped."""
    return to_uint8(shown(images)).permute(0, 2, 3, 1).cpu().numpy()


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Saves [N, C, H, W] images in [-1, 1] as a PNG, row by row; small images are enlarged."""
    save_sheet(path, pixels_of(images), columns)


def save_sheet(path: Path, pixels: np.ndarray, columns: int) -> None:
    """The same for uint8 [N, H, W, C]."""
    save_picture(_sheet(pixels, columns), path)


def fitting(count: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """How many of `count` images, the first ones, a grid of moderate size can show, and in how many columns."""
    most = max(1, min(_MOST_IMAGES, MOST_PIXELS // ((height + 2) * (width + 2) * _enlargement(height, width) ** 2)))
    columns = min(columns, most)
    return min(count, most // columns * columns), columns


def _enlargement(height: int, width: int) -> int:
    return max(1, 64 // max(height, width))


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] by the whole factor that makes small images as large as a grid has them."""
    factor = _enlargement(*pixels.shape[1:3])
    return pixels.repeat(factor, 1).repeat(factor, 2)


def _sheet(pixels: np.ndarray, columns: int) -> Image.Image:
    n, height, width, channels = pixels.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 2) + 2, columns * (width + 2) + 2, channels), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = 2 + (i // columns) * (height + 2), 2 + (i % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet if channels == 3 else sheet[..., 0])
    enlarge = _enlargement(height, width)
    return picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.NEAREST)


def save_columns(path: Path, columns: Mapping[str, Tensor]) -> None:
    """Saves a PNG with one named column for each set of [N, C, H, W] images in [-1, 1]; a row shows a sample. Rows
    beyond the eighth continue beside the first ones, until the picture is about square. Grey and coloured images can be
    mixed; all are enlarged to the size of the largest."""
    columns = {name: shown(images) for name, images in columns.items()}
    channels, *size = (max(images.shape[axis] for images in columns.values()) for axis in (1, 2, 3))
    samples = torch.stack([F.interpolate(images, size, mode="nearest").expand(-1, channels, -1, -1)
                           for images in columns.values()], 1)     # [N, columns, C, H, W]
    blocks = _blocks(len(samples), len(columns))
    rows = -(-len(samples) // blocks)
    sheets = [_sheet(pixels_of(block.flatten(0, 1)), len(columns)).convert("RGB") for block in samples.split(rows)]
    head, width = 12, sheets[0].width + _GAP
    picture = Image.new("RGB", (width * len(sheets) - _GAP, sheets[0].height + head), "white")
    draw = ImageDraw.Draw(picture)
    for block, sheet in enumerate(sheets):
        picture.paste(sheet, (block * width, head))
        cell = (sheet.width - 2) // len(columns)
        for number, name in enumerate(columns):
            draw.text((block * width + 2 + number * cell, 0), _fitted(draw, name, cell), fill="black")
    save_picture(picture, path)


def _blocks(samples: int, columns: int) -> int:
    """How many blocks of rows stand side by side."""
    return 1 if samples <= 8 else next(n for n in range(1, samples + 1) if n * columns >= -(-samples // n))


def _fitted(draw: ImageDraw.ImageDraw, name: str, width: int) -> str:
    """The name, or as much of its beginning as fits."""
    return next((name[:length] for length in range(len(name), 0, -1) if draw.textlength(name[:length]) < width), "")


def save_image(path: Path, image: Tensor) -> None:
    """Saves one [C, H, W] image in [-1, 1] as a PNG."""
    save_pixels(path, pixels_of(image[None])[0])


def save_pixels(path: Path, pixels: np.ndarray) -> None:
    """Saves one uint8 [H, W, C] image as a PNG."""
    save_picture(Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]), path)


def save_animation(path: Path, frames: Tensor, seconds: float) -> None:
    """Saves [N, C, H, W] images in [-1, 1] as a looping GIF or, if the name ends in .mp4, a video, `seconds` per frame;
    small images are enlarged."""
    pixels = pixels_of(frames)
    enlarge = max(1, 128 // max(pixels.shape[1:3]))
    save_frames(path, (image.repeat(enlarge, 0).repeat(enlarge, 1) for image in pixels), seconds)


def save_frames(path: Path, frames: Iterable[np.ndarray], seconds: float) -> None:
    """The same for uint8 frames, each [H, W, 1 or 3], which are shown as they are."""
    if path.suffix.lower() == ".mp4":
        save_video(path, frames, seconds)
        return
    first, *others = (Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]) for image in frames)
    with replacing(path) as unfinished:
        first.save(unfinished, format="GIF", save_all=True, append_images=others, duration=round(seconds * 1000),
                   loop=0)


def save_points(path: Path, samples: Tensor, data: Tensor, size: int = 512) -> None:
    """Saves a picture of samples [N, 2] (orange) over data [M, 2] (grey), in a frame that fits the data."""
    reach = 1.3 * float(data.abs().max())
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    for points, colour, radius in ((data, (170, 170, 170), 2), (samples, (230, 95, 0), 1)):
        for x, y in (((points.cpu() / reach + 1) * size / 2).tolist()):
            draw.ellipse([x - radius, size - y - radius, x + radius, size - y + radius], fill=colour)
    save_picture(picture, path)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Saves a PNG, completely or not at all."""
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG")


def numbered(folder: Path, images: int) -> Path:
    """The path `<folder>/<images, 12 digits>.png`; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{images:012d}.png"
