"""Lists and finds recipes. Folders in $SCALEGAN_RECIPES are searched first."""

from pathlib import Path

from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean
from scalegan.support.paths import shipped


def folders() -> list[Path]:
    """Folders to search for recipes, in order: $SCALEGAN_RECIPES, the checkout, the installed package."""
    return shipped("recipes", "recipes", "SCALEGAN_RECIPES")


def available() -> dict[str, str]:
    """Every recipe by name, with the first line of its header."""
    found: dict[str, str] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.yaml")):
            if not path.is_file():
                continue
            first = path.read_text().lstrip().split("\n", 1)[0]
            found.setdefault(path.stem, first.lstrip("# ").strip())
    return found


def find(name: str) -> Path:
    """Finds a recipe's file by name or path.

    Raises:
        RecipeError: if there is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {name}")
        return path
    for folder in folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RecipeError(f"there is no recipe '{name}'{did_you_mean(name, available())}; `scalegan recipes` lists them")
