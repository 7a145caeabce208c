"""Weights that come inside packages, found as files; the packages are not imported."""

from importlib.util import find_spec
from pathlib import Path

from scalegan.errors import UserError


def packaged(package: str, file: str) -> Path:
    """A file of an installed package. Raises UserError without the package or the file."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    for folder in folders:
        if (path := Path(folder, file)).is_file():
            return path
    raise UserError(f"faces need {file} of the package {package}, which is not installed: pip install "
                    "'scalegan[faces]'")
