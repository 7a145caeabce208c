"""Lists and finds recipes. Folders in $SCALEGAN_RECIPES are searched first."""

from pathlib import Path

from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean
from scalegan.support.paths import shipped
from scalegan.support.reading import or_none, read_text


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
            text = or_none(lambda path=path: read_text(path))
            first = "(cannot be read)" if text is None else text.lstrip().split("\n", 1)[0]
            found.setdefault(path.stem, first.lstrip("# ").strip())
    return found


def find(name: str) -> Path:
    """Finds a recipe's file by name or path.

    Raises:
        RecipeError: if there is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not is_file(path):
            raise RecipeError(f"there is no recipe file {name}")
        return path
    for folder in folders():
        if is_file(folder / f"{name}.yaml"):
            return folder / f"{name}.yaml"
    raise RecipeError(f"there is no recipe '{name}' (`scalegan recipes` lists them){did_you_mean(name, available())}")


def is_file(path: Path) -> bool:
    """Whether there is such a file; not so for a name that is too long to be one."""
    try:
        return path.is_file()
    except OSError:
        return False
