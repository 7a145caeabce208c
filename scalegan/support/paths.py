"""Paths of the files that the package ships."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(in_checkout: str, in_package: str, variable: str) -> list[Path]:
    """Folders of files that ship with ScaleGAN, in search order.

    Args:
        in_checkout: the folder's path from the root of a checkout.
        in_package: its name in an installed package.
        variable: environment variable that lists more folders, which come first.
    """
    named = [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]
    installed = _PACKAGE / in_package
    return [path for path in (*named, installed if installed.is_dir() else _PACKAGE.parent / in_checkout)
            if path.is_dir()]
