"""From `recipe=NAME key=value ...` to a checked `Recipe`: lookup, merge, check, print. Never imports torch."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from yaml import YAMLError

from scalegan.config import Optimizer, Recipe
from scalegan.config.catalogue import find, folders, is_file
from scalegan.config.checks import check
from scalegan.config.explanation import explain
from scalegan.config.game import players_of
from scalegan.config.hints import hint
from scalegan.config.origin import COMMAND_LINE, Origin
from scalegan.errors import RecipeError
from scalegan.support.reading import DamagedFile
from scalegan.support.yaml_files import read_keys

_ADAPTER = TypeAdapter(Recipe)
_MOST_FILES = 100       # that a recipe may extend, all in all
_SAME_KEYS = ("engine", "optimizer")    # groups that have the same keys by every `name`


def load(arguments: list[str], otherwise: dict[str, Any] | None = None) -> Recipe:
    """The recipe that the command line names, with its overrides.

    Args:
        otherwise: the keys that are overridden if it names none.

    Raises:
        RecipeError: for anything that is wrong with it, in one line with the nearest valid name.
    """
    name, overrides = split(arguments, needed=otherwise is None)
    if not name:
        return _parse(merge(otherwise, overrides), Origin(COMMAND_LINE, overrides))
    path = find(name)
    return overridden(tree_of(path), overrides, path.name, f"runs/{path.stem}")


def split(arguments: list[str], needed: bool = True) -> tuple[str, dict[str, Any]]:
    """The recipe's name or path on a command line, and its overrides as nested dictionaries; an empty name if there is
    none, and none is `needed`.

    Raises:
        RecipeError: if there are several names, or an argument is not an override.
    """
    wrong = [a for a in arguments if "=" not in a or a.startswith("-")]
    if wrong:
        raise RecipeError(f"'{wrong[0]}' is not of the form key=value{hint(arguments, wrong[0])}")
    names = [a.partition("=")[2] for a in arguments if a.startswith("recipe=")]
    if len(names) > 1 or (needed and not names):
        raise RecipeError("say which recipe to run: recipe=NAME (`scalegan recipes` lists them), recipe=PATH.yaml, or "
                          "recipe=auto data.path=IMAGES")
    try:
        dotted = OmegaConf.from_dotlist([a for a in arguments if not a.startswith("recipe=")])
        return "".join(names), OmegaConf.to_container(dotted, resolve=False)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise RecipeError(f"cannot read the overrides: {_one_line(error)}") from error


def overridden(tree: dict[str, Any], overrides: dict[str, Any], file: str, run_dir: str) -> Recipe:
    """A checked recipe from a file's keys and the command line's; `run_dir` is where it trains if neither says so."""
    return _parse(merge({"run_dir": run_dir, **tree}, overrides), Origin(file, overrides))


def parse(tree: dict[str, Any], origin: str) -> Recipe:
    """A checked recipe from plain dictionaries; `origin` names their file in errors."""
    return _parse(tree, Origin(origin))


def _parse(tree: dict[str, Any], origin: Origin) -> Recipe:
    try:
        recipe = _ADAPTER.validate_python(_with_one_resolution(tree))
    except ValidationError as error:
        key, message = explain(error, tree)
        raise RecipeError(f"{origin.of_key(key)}: {message}") from error
    recipe = _with_optimizers(recipe)
    check(recipe, origin)
    return recipe


def _with_one_resolution(tree: dict[str, Any]) -> dict[str, Any]:
    """Gives `streams` the resolution of `data` where they have none of their own."""
    data, streams = tree.get("data"), tree.get("streams")
    if not (isinstance(data, dict) and "resolution" in data and isinstance(streams, dict)):
        return tree
    own = {name: {"resolution": data["resolution"], **stream} if isinstance(stream, dict) else stream
           for name, stream in streams.items()}
    return {**tree, "streams": own}


def _with_optimizers(recipe: Recipe) -> Recipe:
    """Gives every player settings: its own, else optimizer.default, else the defaults if there are no optimizers."""
    named = dict(recipe.optimizer)
    default = named.pop("default", None if named else Optimizer())
    filled = {player: default for player in players_of(recipe) if default is not None}
    return replace(recipe, optimizer={**filled, **named})


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe, as it can be read again."""
    return OmegaConf.to_yaml(OmegaConf.create(to_dict(recipe)))


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as JSON would hold it: dictionaries and lists, no tuples."""
    return json.loads(json.dumps(asdict(recipe)))


def tree_of(path: Path) -> dict[str, Any]:
    """The keys of a recipe's file, and of those that it extends."""
    return _read(path, [], [])


def _read(path: Path, below: list[Path], read: list[Path]) -> dict[str, Any]:
    """A file's keys, laid upon those of the files that it extends.

    Args:
        below: the files by whose `extends` this one is read.
        read: all files so far, to which this one is added.
    """
    if path.resolve() in below:
        raise RecipeError(f"{below[-1].name}: extends '{path.stem}', which extends it in turn; remove one of the two")
    read.append(path)
    if len(read) > _MOST_FILES:
        raise RecipeError(f"{path.name}: more than {_MOST_FILES} files are read by `extends`; leave some out")
    try:
        tree = plain(read_keys(path))
    except (DamagedFile, OSError) as error:
        raise RecipeError(str(error)) from error
    merged: dict[str, Any] = {}
    for parent in _parents(path, tree.pop("extends", [])):
        base = next(filter(is_file, [folder / f"{parent}.yaml" for folder in [path.parent, *folders()]]), None)
        if base is None:
            raise RecipeError(f"{path.name}: extends '{parent}', but there is no such recipe; use a name from "
                              "`scalegan recipes`, or a file beside this one, without .yaml")
        merged = merge(merged, _read(base, [*below, path.resolve()], read))
    return merge(merged, tree)


def _parents(path: Path, given: Any) -> list[str]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise RecipeError(f"{path.name}: extends: should be the name of a recipe, or a list of names")
    return names


def plain(tree: dict[str, Any]) -> dict[str, Any]:
    """Only the recipe's keys, without what a run's config.yaml adds: environment, content hashes, digests."""
    found = {key: value for key, value in tree.items() if key not in ("records", "fixed", "init_content")}

    def without_content(data: Any) -> Any:
        return {k: v for k, v in data.items() if k != "content"} if isinstance(data, dict) else data

    if "data" in found:
        found["data"] = without_content(found["data"])
    if isinstance(found.get("streams"), dict):
        found["streams"] = {name: without_content(data) for name, data in found["streams"].items()}
    return found


def with_current_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """A run's resolved recipe, with defaults for keys that were added since; unchanged if it is no longer valid."""
    try:
        found = to_dict(_with_optimizers(_ADAPTER.validate_python(plain(tree))))
    except ValidationError:
        return tree
    for data, own in ((found["data"], tree.get("data")), *((found["streams"][name], own) for name, own in
                                                           (tree.get("streams") or {}).items())):
        if own and "content" in own:
            data["content"] = own["content"]
    return found | {key: tree[key] for key in ("records", "fixed", "init_content") if key in tree}


def merge(base: dict[str, Any], over: dict[str, Any], within: str = "") -> dict[str, Any]:
    """`base` overridden by `over`; if a group's `name` changes, the keys of the old one are dropped, unless the new one
    has the same.

    Args:
        within: the top-level key that holds them; empty for whole recipes.
    """
    if "name" in over and "name" in base and over["name"] != base["name"] and within not in _SAME_KEYS:
        base = {}
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value, within or key) if both else value
    return merged


def _one_line(error: Exception) -> str:
    return str(error).strip().replace("\n", " ")
