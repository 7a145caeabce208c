"""A user's photos: found in files, folders and zips, read with all that belongs to them, and written beside each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from scalegan.data.colour_profiles import in_srgb, is_transparent
from scalegan.data.picture import open_picture
from scalegan.data.preparing.sources.stores import IMAGE_SUFFIXES, Folder, Store, open_store
from scalegan.data.preparing.sources.survey import survey
from scalegan.errors import UsageError, UserError
from scalegan.support.files import replacing

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_SIXTEEN = 257      # steps of 16-bit values per step of 8 bits


class Found(NamedTuple):
    """A file that may be a photo: what users call it, its bytes, and where its result belongs, relative to --out."""

    name: str
    store: Store
    file: str
    result: PurePosixPath

    def read(self) -> bytes:
        return self.store.read(self.file)


@dataclass(frozen=True)
class Photo:
    """A photo, upright, in sRGB.

    Args:
        pixels: uint8 [H, W, 3], or [H, W, 1] if it is grey.
        alpha: uint8 [H, W], or None for an opaque photo.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None


def find(inputs: Sequence[Path]) -> list[Found]:
    """The photos among files, folders (with everything below them) and zips, in the order given, then in natural order.
    Results keep sub-folders and names, with the suffix .png; where two would have one name, both keep their suffix too.

    Raises:
        UserError: if an input does not exist, or is a folder or archive without images.
    """
    found = [one for path in inputs for one in _found_in(path)]
    names = [one.result.with_suffix(".png") for one in found]
    results, taken = [], set()
    for one, name in zip(found, names):
        stem = name if names.count(name) == 1 else one.result.with_name(f"{one.result.name}.png")
        number, result = 2, stem
        while result in taken:      # the same name from several inputs
            number, result = number + 1, stem.with_stem(f"{stem.stem}_{number}")
        taken.add(result)
        results.append(one._replace(result=result))
    return results


def check_apart(found: Sequence[Found], folders: Sequence[Path]) -> None:
    """Checks that no result would be written to a folder that holds photos, as it could overwrite one of them.

    Raises:
        UsageError: if one would.
    """
    holding = {Path(one.store.path, one.file).parent.resolve() for one in found if isinstance(one.store, Folder)}
    for folder in folders:
        for one in found:
            if (written := (folder / one.result).parent).resolve() in holding:
                raise UsageError(f"--out: results would be written to {written}, which holds photos to read, and could "
                                 "overwrite them; name a folder apart from INPUT")


def _found_in(path: Path) -> Iterator[Found]:
    if path.is_file() and not path.name.lower().endswith(_ARCHIVES):
        yield Found(str(path), Folder(path.parent), path.name, PurePosixPath(path.name))
        return
    if not path.exists():
        raise UserError(f"{path} does not exist")
    store = open_store(path)
    files = survey(store).files
    if not files:
        raise UserError(f"{path} has no images ({', '.join(sorted(IMAGE_SUFFIXES)[:4])}, ...) in it or below it")
    for file in files:
        yield Found(f"{path}/{file}", store, file, PurePosixPath(file))


def read(data: bytes) -> Photo:
    """Decodes a photo: turned as its EXIF says, its colour profile applied, 16 bits reduced to 8.

    Raises:
        ValueError: if the bytes are not a complete picture, with the reason.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        return _read(data)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes, Pillow's readers raise exceptions of any type
        raise ValueError(str(error) or type(error).__name__) from error


def _read(data: bytes) -> Photo:
    picture = ImageOps.exif_transpose(open_picture(data))
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        deep = values.max(initial=0) > 255
        return Photo(np.clip(np.rint(values / _SIXTEEN) if deep else values, 0, 255).astype(np.uint8)[..., None])
    if picture.mode == "F":
        raise ValueError("it holds floating-point numbers (mode F), not colours; convert it to 8 or 16 bits first")
    grey = picture.mode in ("1", "L", "LA")
    picture = in_srgb(picture)
    alpha = np.array(picture.convert("RGBA").getchannel("A")) if is_transparent(picture) else None
    pixels = np.array(picture.convert("L" if grey else "RGB"))
    return Photo(pixels[..., None] if grey else pixels, alpha)


def write(path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
    """Writes uint8 [H, W, 3 or 1], and the photo's alpha, as a PNG; the file appears when it is complete."""
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG")
