"""A folder or zip of shapes: a class per sub-folder, or all in one place without labels."""

import os.path
from pathlib import Path, PurePosixPath

from scalegan.data.preparing.sources import shapes
from scalegan.data.preparing.sources.base import Entry, Listed
from scalegan.data.preparing.sources.folder import classed
from scalegan.data.preparing.sources.shapes import MESHES, SUFFIXES, Shape
from scalegan.data.preparing.sources.stores import Tar, is_hidden, natural, open_store
from scalegan.data.preparing.sources.survey import Survey, without_images
from scalegan.errors import UsageError, UserError


class Shapes(Listed):
    """Files of shapes, which become voxels once their resolution is known."""

    def entry(self, number: int) -> Entry:
        file = self.files[number]
        return Entry(file, self._label(number), number, lambda: Shape(file, self.store.read(file)))


def open_volumes(path: Path, labels: str = "auto") -> Shapes:
    """All shapes below `path`, in natural order. The class is the topmost sub-folder in which their paths differ.

    Args:
        labels: `auto` (class if there are sub-folders), `class` or `none`.

    Raises:
        UserError: if there are no shapes, or only some of them have a class, or the sub-folders are splits, or there
            are meshes and trimesh is missing.
    """
    if labels not in ("auto", "class", "none"):
        raise UsageError(f"--labels {labels}: a folder of shapes has classes (its sub-folders) or none")
    store = open_store(path)
    names, folders = store.listing()
    files = sorted((name for name in names if _suffix(name) in SUFFIXES and not is_hidden(name)), key=natural)
    if not files:
        raise UserError(f"{path} has no shapes ({', '.join(f'*{suffix}' for suffix in SUFFIXES)}) in it or below it")
    if isinstance(store, Tar):
        raise UserError(f"{path} is a tar of shapes, which cannot be read in random order; unpack it and use the "
                        "folder")
    if any(_suffix(file) in MESHES for file in files):
        shapes.check_installed()
    others = sum(not is_hidden(name) for name in names) - len(files)
    passed_over = f"passed over {others:,} other file{'s' * (others > 1)}" if others else ""
    parents = {PurePosixPath(file).parent for file in files}
    common = PurePosixPath(os.path.commonpath(parents))
    if labels == "class" and parents == {common}:
        common = common.parent
    found = classed(f"volumes: {path.name}", store, Survey(files, passed_over, without_images(folders, files)), labels,
                    len(common.parts))
    return Shapes(**vars(found))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
