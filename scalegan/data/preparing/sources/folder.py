"""A folder or zip of images: a class per sub-folder, or all in one place without labels."""

import os.path
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.stores import Store, image_files, natural, open_store
from scalegan.errors import UsageError, UserError


def open_folder(path: Path, labels: str = "auto") -> Listed:
    """All images below `path`, in natural order. The class is the topmost sub-folder in which their paths differ.

    Args:
        labels: `auto` (class if there are sub-folders), `class` or `none`.
    """
    if labels not in ("auto", "class", "none"):
        raise UsageError(f"--labels {labels}: a folder has classes (its sub-folders) or none")
    store = open_store(path)
    files = image_files(store)
    if not files:
        raise UserError(f"{path} has no images (*.jpg, *.png, *.webp, ...) in it or below it")
    folders = {PurePosixPath(file).parent for file in files}
    common = PurePosixPath(os.path.commonpath(folders))     # zips often wrap all in one folder, which is not a class
    if labels == "class" and folders == {common}:
        common = common.parent
    return classed(f"folder: {path.name}", store, files, labels, len(common.parts))


def classed(name: str, store: Store, files: list[str], labels: str, depth: int) -> Listed:
    """A source of files whose class is their folder at `depth`."""
    parts = [file.split("/") for file in files]
    inside = [len(part) > depth + 1 for part in parts]
    if labels == "none" or (labels == "auto" and not any(inside)):
        return Listed(name, store, files)
    if not all(inside):
        raise UserError(f"{store.path} has images both in sub-folders (classes) and outside them, such as "
                        f"{files[inside.index(False)]}; move them, or use --labels none")
    names = sorted({part[depth] for part in parts}, key=natural)
    number = {name: i for i, name in enumerate(names)}
    table = np.array([number[part[depth]] for part in parts], np.int64)
    return Listed(name, store, files, LabelSchema("class", tuple(names)), table)
