"""StyleGAN's layout: a zip (or folder) of images with a dataset.json that may hold their labels."""

import json
from pathlib import Path, PurePosixPath

import numpy as np

from scalegan.data.manifest import LabelSchema
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.stores import Store, open_store
from scalegan.data.preparing.sources.survey import shortened, survey
from scalegan.errors import UsageError, UserError

_MAX_CLASSES = 100_000  # allowed however few images there are


def open_zip(path: Path, labels: str = "auto") -> Listed:
    """Images in order of their names, with labels from `{"labels": [["00000/img00000000.png", 6], ...]}`.

    Args:
        labels: `auto` (what dataset.json has), `class`, `attributes` (lists of 0 and 1) or `none`.
    """
    store = open_store(path)
    found = survey(store)
    files, remarks = found.files, found.remarks
    if not files:
        raise UserError("; ".join([f"{path} has no images", *remarks]))
    name = f"zip: {path.name}"
    table = None if labels == "none" else _table(store, files)
    if table is None:
        if labels not in ("auto", "none"):
            raise UsageError(f"--labels {labels}: {path} has no labels in a dataset.json")
        return Listed(name, store, files, remarks=remarks)
    kind = "class" if table.ndim == 1 else "attributes"
    if labels not in ("auto", kind):
        raise UsageError(f"--labels {labels}: dataset.json in {path} has labels of kind '{kind}'")
    count = int(table.max()) + 1 if kind == "class" else table.shape[1]
    if kind == "class" and count > max(len(files), _MAX_CLASSES):
        raise UserError(f"dataset.json in {path} has class {count - 1}, but only {len(files):,} images; "
                        "number the classes 0, 1, 2, ...")
    if kind == "class" and (empty := np.flatnonzero(np.bincount(table, minlength=count) == 0)).size:
        remarks += (f"no images of class {shortened(map(str, empty.tolist()))}",)
    return Listed(name, store, files, LabelSchema(kind, tuple(map(str, range(count)))), table, remarks)


def _table(store: Store, files: list[str]) -> np.ndarray | None:
    found = [name for name in store.names() if PurePosixPath(name).name == "dataset.json"]
    if not found:
        return None
    table = min(found, key=lambda name: name.count("/"))
    origin = f"{store.path}: {table}"
    try:
        pairs = json.loads(store.read(table))["labels"]
        if pairs is None:
            return None
        by_name = {name.replace("\\", "/"): label for name, label in pairs}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{origin} is not of the form {{\"labels\": [[name, label], ...]}} ({error!r})") from error
    folder = table.removesuffix("dataset.json")
    missing = [file for file in files if file.removeprefix(folder) not in by_name]
    if missing:
        raise UserError(f"{origin} has no label for {len(missing)} images, such as {missing[0]}; add them, or use "
                        "--labels none")
    return _checked([by_name[file.removeprefix(folder)] for file in files], origin)


def _checked(labels: list, origin: str) -> np.ndarray:
    """Class indices int64 [N], or 0/1 vectors uint8 [N, K]."""
    try:
        table = np.array(labels)
    except ValueError:
        table = np.array([""])
    if table.ndim == 1 and table.dtype.kind in "iu" and table.min() >= 0:
        return table.astype(np.int64)
    if table.ndim == 2 and table.dtype.kind in "iufb" and np.isin(table, (0, 1)).all():
        return table.astype(np.uint8)
    raise UserError(f"{origin} has labels that are neither class numbers nor lists of 0 and 1; use --labels none")
