"""Lists the recipes, a line each. Folders named in $SCALEGAN_RECIPES are looked through first."""

import os
from importlib import resources
from pathlib import Path


def main(arguments: list[str]) -> int:
    if arguments:
        print(f"scalegan recipes\n\n{__doc__}")
        return 0
    for name, about in available().items():
        print(f"{name:<20} {about}")
    return 0


def folders() -> list[Path]:
    """Where recipes are looked up, in order: $SCALEGAN_RECIPES, the checkout, the installed package."""
    own = [Path(p) for p in os.environ.get("SCALEGAN_RECIPES", "").split(os.pathsep) if p]
    checkout = Path(__file__).resolve().parent.parent / "recipes"
    try:
        packaged = [Path(str(resources.files("scalegan.recipes")))]
    except ModuleNotFoundError:
        packaged = []
    return [p for p in [*own, checkout, *packaged] if p.is_dir()]


def available() -> dict[str, str]:
    """Every recipe by name, with its first line of comment."""
    found: dict[str, str] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.yaml")):
            first = path.read_text().lstrip().split("\n", 1)[0]
            found.setdefault(path.stem, first.lstrip("# ").strip())
    return found
