"""Where what the package ships lies."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(in_checkout: str, in_package: str, variable: str) -> list[Path]:
    """Folders of files that ship with ScaleGAN, in the order of looking them up.

    Args:
        in_checkout: the folder in a checkout, from its root.
        in_package: its name in an installed package.
        variable: environment variable that names further folders, which come first.
    """
    named = [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]
    installed = _PACKAGE / in_package
    return [path for path in (*named, installed if installed.is_dir() else _PACKAGE.parent / in_checkout)
            if path.is_dir()]
