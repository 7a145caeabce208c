"""Sources of images and volumes, in the layouts they come in; `open_source` opens one by its kind."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from scalegan.data.preparing.sources.base import Source
from scalegan.data.preparing.sources.celeba import ATTRIBUTES, open_celeba
from scalegan.data.preparing.sources.cifar10 import CLASSES, TRAIN, open_cifar10
from scalegan.data.preparing.sources.folder import open_folder
from scalegan.data.preparing.sources.pairs import SIDES, open_pairs
from scalegan.data.preparing.sources.stores import Folder, is_hidden, open_store
from scalegan.data.preparing.sources.volumes import open_volumes
from scalegan.data.preparing.sources.zip import open_zip
from scalegan.errors import UsageError


class Usual(NamedTuple):
    """Defaults for a kind of source."""

    crop: str = "center"
    encoding: str = "jpeg"
    resolution: int = 64


USUAL = {
    "lsun": Usual(),
    "celeba": Usual(crop="celeba178", resolution=128),
    "cifar10": Usual(crop="none", encoding="png", resolution=32),   # 32 px are few enough to store losslessly
    "folder": Usual(),
    "zip": Usual(),
    "pairs": Usual(),
    "volumes": Usual(crop="none", encoding="raw"),
}


def open_source(kind: str, paths: list[Path], labels: str = "auto", split: str | None = None,
                annotations: Path | None = None, side: str = SIDES[0]) -> Source:
    """Opens a source; of pairs, one side. Raises UserError if it is not of that kind, or an option does not apply to
    it."""
    paths = [Path(os.path.abspath(path)) for path in paths]     # gives `.` a name and parents too
    if split is not None and kind not in ("celeba", "cifar10"):
        raise UsageError(f"--split is for celeba and cifar10, which come with splits; for {kind}, use --validation")
    if annotations is not None and kind != "celeba":
        raise UsageError("--annotations is for celeba")
    if kind == "lsun":
        from scalegan.data.preparing.sources.lsun import Lsun

        return Lsun(paths, labels)
    if len(paths) > 1:
        remedy = "name a folder with two sub-folders, A and B" if kind == "pairs" else \
            "only lsun takes several, one per category"
        raise UsageError(f"--kind {kind} takes one SOURCE; {remedy}")
    if kind == "celeba":
        return open_celeba(paths[0], labels, split or "all", annotations)
    if kind == "cifar10":
        return open_cifar10(paths[0], labels, split or "train")
    if kind == "pairs":
        return open_pairs(paths[0], labels, side)
    return {"folder": open_folder, "zip": open_zip, "volumes": open_volumes}[kind](paths[0], labels)


def guess_kind(path: Path) -> str:
    """The kind that the files of `path` suggest; `folder` if they suggest none."""
    if path.name == "data.mdb" or (path / "data.mdb").exists() or any(path.glob("*/data.mdb")):
        return "lsun"
    known = _top_names(path)
    names = {PurePosixPath(name).name for name in known}
    signs: dict[str, Callable[[], bool]] = {
        "lsun": lambda: "data.mdb" in names,
        "celeba": lambda: bool({ATTRIBUTES, "img_align_celeba", "img_align_celeba.zip"} & names)
        or path.stem == "img_align_celeba" or any(n.startswith("img_align_celeba/") for n in known),
        "cifar10": lambda: TRAIN[0] in names or all(
            any(f"train/{c}" in (n[:len(c) + 6], n.partition("/")[2][:len(c) + 6]) for n in known) for c in CLASSES),
        "zip": lambda: "dataset.json" in names,
    }
    return next((kind for kind, matches in signs.items() if matches()), "folder")


def _top_names(path: Path) -> list[str]:
    """All names in an archive; only those of two levels in a folder, as it may hold millions, and in the one folder
    that may be around all."""
    store = open_store(path)
    if not isinstance(store, Folder):
        return store.names()
    inside = ("train", "cifar-10-batches-py", "Img", "Anno")
    top = [p.name for p in path.iterdir()]
    known = top + [f"{f}/{p.name}" for f in inside if (path / f).is_dir() for p in (path / f).iterdir()]
    visible = [name for name in top if not is_hidden(name)]
    wraps_all = len(visible) == 1 and (path / visible[0]).is_dir() and not (path / visible[0]).is_symlink()
    return known + (_top_names(path / visible[0]) if wraps_all else [])
