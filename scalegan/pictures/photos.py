"""A user's photos: found in files, folders and zips, read with all that belongs to them, and written beside each other.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from scalegan.data.colour_profiles import in_srgb, is_transparent
from scalegan.data.picture import deep_grey_levels, has_deep_planes, open_picture, turned
from scalegan.data.preparing.sources.stores import IMAGE_SUFFIXES, Folder, Store, open_store
from scalegan.data.preparing.sources.survey import counted
from scalegan.errors import UsageError, UserError
from scalegan.support.files import replacing

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_SIXTEEN = 257      # steps of 16-bit values per step of 8 bits
_DEEPEST = 65_535


class Found(NamedTuple):
    """A file that may be a photo: what users call it, its bytes, and where its result belongs, relative to --out."""

    name: str
    store: Store
    file: str
    result: PurePosixPath

    @property
    def path(self) -> Path:
        return self.store.path / self.file

    def read(self) -> bytes:
        """Raises ValueError if it cannot be read."""
        try:
            return self.store.read(self.file)
        except OSError as error:
            raise ValueError(error.strerror) from error


@dataclass(frozen=True)
class Photo:
    """A photo, upright, in sRGB.

    Args:
        pixels: uint8 [H, W, 3], or [H, W, 1] if it is grey.
        alpha: uint8 [H, W], or None for an opaque photo.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None


class Listing(NamedTuple):
    """What is found among a user's inputs: photos, a line for each input without any, and a line for each with files
    that were passed over because their names are not those of images."""

    photos: list[Found]
    problems: list[str]
    remarks: list[str]


def find(inputs: Sequence[Path]) -> Listing:
    """The photos among files, folders (with everything below them) and zips, in the order given, then in natural order.
    Results keep sub-folders and names, with the suffix .png; where two would have one name, both keep their suffix too.
    """
    found, problems, remarks = [], [], []
    for path in inputs:
        try:
            if path.is_file() and not path.name.lower().endswith(_ARCHIVES):
                found.append(Found(str(path), Folder(path.parent), path.name, PurePosixPath(path.name)))
                continue
            store = Folder(path, lambda error: problems.append(_unlisted(error))) if path.is_dir() else open_store(path)
            survey = counted(store)
            if not survey.files:
                raise UserError(f"{path} has no images ({', '.join(sorted(IMAGE_SUFFIXES)[:4])}, ...) in it or below it"
                                + f"; {survey.passed_over}" * bool(survey.passed_over))
            found += [Found(f"{path}/{file}", store, file, PurePosixPath(file)) for file in survey.files]
            remarks += [f"{path}: {survey.passed_over}"] * bool(survey.passed_over)
        except UserError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    return Listing(_named_apart(found), problems, remarks)


def _unlisted(error: OSError) -> str:
    return f"cannot list {error.filename}: {error.strerror}"


def _named_apart(found: Sequence[Found]) -> list[Found]:
    names = [one.result.with_suffix(".png") for one in found]
    count = Counter(names)
    results, taken = [], set()
    for one, name in zip(found, names):
        stem = name if count[name] == 1 else one.result.with_name(f"{one.result.name}.png")
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
    holding = {one.path.parent.resolve() for one in found if isinstance(one.store, Folder)}
    for folder in folders:
        for one in found:
            if (written := (folder / one.result).parent).resolve() in holding:
                raise UsageError(f"--out: results would be written to {written}, which holds photos to read, and could "
                                 "overwrite them; name a folder apart from INPUT")


def apart(out: Path, name: str, found: Sequence[Found]) -> Path:
    """A file or folder in `out` beside the results, called `name` unless results go there."""
    taken, chosen, number = {one.result.parts[0] for one in found}, name, 2
    while chosen in taken:
        chosen, number = Path(name).with_stem(f"{Path(name).stem}_{number}").name, number + 1
    return out / chosen


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
    opened = open_picture(data)
    if has_deep_planes(opened):
        raise ValueError("it has 16 bits per channel, in planes; convert it to 8 bits first")
    picture = turned(opened)
    if picture.mode.startswith("I"):
        return _deep(picture, *deep_grey_levels(opened))
    if picture.mode == "F":
        raise ValueError("it holds floating-point numbers (mode F), not colours; convert it to 8 or 16 bits first")
    grey = picture.mode in ("1", "L", "LA")
    picture = in_srgb(picture)
    alpha = np.array(picture.convert("RGBA").getchannel("A")) if is_transparent(picture) else None
    pixels = np.array(picture.convert("L" if grey else "RGB"))
    return Photo(pixels[..., None] if grey else pixels, alpha)


def _deep(picture: Image.Image, most: int, inverted: bool) -> Photo:
    """A grey picture of more than 8 bits, which Pillow gives as such, or as 32 bits whose depth only values tell.

    Args:
        most: the highest level of those of up to 16 bits.
        inverted: whether that is black.
    """
    values = np.asarray(picture).astype(np.int64)
    if values.max() > _DEEPEST:
        raise ValueError("it has more than 16 bits per channel; convert it to 8 or 16 bits first")
    clear = picture.info.get("transparency")
    alpha = None if clear is None else np.where(values == clear, 0, 255).astype(np.uint8)
    if picture.mode != "I":
        values = np.rint((most - values if inverted else values) * 255 / most)
    elif values.max() > 255:
        values = np.rint(values / _SIXTEEN)
    return Photo(values.clip(0, 255).astype(np.uint8)[..., None], alpha)


def write(path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
    """Writes uint8 [H, W, 3 or 1] as a PNG; the file appears when it is complete.

    Args:
        alpha: the photo's; enlarged by Pillow's bicubic filter if the picture is larger than the photo was.
    """
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    del pixels      # as large as the picture's own copy
    if alpha is not None:
        mask = Image.fromarray(alpha)
        picture.putalpha(mask if mask.size == picture.size else mask.resize(picture.size, Image.Resampling.BICUBIC))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name, as `path` with a further suffix may be too long; the same each time, to replace what a kill left.
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    with replacing(path, path.with_name(f".{short}.tmp")) as unfinished:
        picture.save(unfinished, format="PNG")
