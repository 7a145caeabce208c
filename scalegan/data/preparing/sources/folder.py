"""A folder or zip of images: a class per sub-folder, or all in one place without labels."""

import os.path
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.stores import Store, natural, open_store
from scalegan.data.preparing.sources.survey import Survey, are_splits, survey
from scalegan.errors import UsageError, UserError


def open_folder(path: Path, labels: str = "auto") -> Listed:
    """All images below `path`, in natural order. The class is the topmost sub-folder in which their paths differ.

    Args:
        labels: `auto` (class if there are sub-folders), `class` or `none`.

    Raises:
        UserError: if there are no images, or only some of them have a class, or the sub-folders are splits.
    """
    if labels not in ("auto", "class", "none"):
        raise UsageError(f"--labels {labels}: a folder has classes (its sub-folders) or none")
    store = open_store(path)
    found = survey(store)
    if not found.files:
        raise UserError("; ".join([f"{path} has no images (*.jpg, *.png, *.webp, ...) in it or below it",
                                   *found.remarks]))
    folders = {PurePosixPath(file).parent for file in found.files}
    common = PurePosixPath(os.path.commonpath(folders))     # zips often wrap all in one folder, which is not a class
    if labels == "class" and folders == {common}:
        common = common.parent
    return classed(f"folder: {path.name}", store, found, labels, len(common.parts))


def classed(name: str, store: Store, found: Survey, labels: str, depth: int) -> Listed:
    """A source of files whose class is their folder at `depth`."""
    files, remarks = found.files, found.remarks
    parts = [file.split("/") for file in files]
    inside = [len(part) > depth + 1 for part in parts]
    if labels == "none" or (labels == "auto" and not any(inside)):
        return Listed(name, store, files, remarks=remarks)
    _refuse_splits(store, parts, labels, depth)
    if not all(inside):
        raise UserError(f"{store.path} has images both in sub-folders (classes) and outside them, such as "
                        f"{files[inside.index(False)]}; move them, or use --labels none")
    names = sorted({part[depth] for part in parts}, key=natural)
    number = {name: i for i, name in enumerate(names)}
    table = np.array([number[part[depth]] for part in parts], np.int64)
    return Listed(name, store, files, LabelSchema("class", tuple(names)), table, remarks)


def _refuse_splits(store: Store, parts: list[list[str]], labels: str, depth: int) -> None:
    """Raises UserError where classes would be train, test and the like. Only those who ask for classes get such ones,
    unless the classes are one level below."""
    names = sorted({part[depth] for part in parts if len(part) > depth + 1})
    nested = any(len(part) > depth + 2 for part in parts)
    if are_splits(names) and (labels == "auto" or nested):
        inside = store.path.joinpath(*parts[0][:depth], names[-1])
        remedy = f"use one of them, such as {inside}" if store.path.is_dir() else "unpack it, and use one of them"
        raise UserError(f"{store.path} has sub-folders that are splits of a dataset, not classes: {', '.join(names)}; "
                        f"{remedy}, or prepare all together with --labels none")
