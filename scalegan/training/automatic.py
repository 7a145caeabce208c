"""`recipe=auto`: looks at the images, applies the rules of `config/auto.py`, prepares the images in the run folder,
and writes there the recipe that counts from then on, also where the run is resumed on another machine."""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scalegan.config import Recipe, loading
from scalegan.config.auto import Choice, Device, choose
from scalegan.config.catalogue import is_file
from scalegan.errors import LostRank, RecipeError, UserError
from scalegan.support.files import write_whole
from scalegan.support.resolution import Resolution

if TYPE_CHECKING:
    from scalegan.data.preparing.facts import Found

NAME = "auto"
FILE = "recipe.yaml"
_POLL_SECONDS = 0.2
_MOST_BROKEN = 0.1          # of the images


def load(arguments: list[str], begin: bool = False, device: Device | None = None) -> Recipe:
    """The recipe that the command line names, as by `loading.load`; for recipe=auto, the one in the run folder, or
    where there is none yet, what the rules choose.

    Args:
        begin: with recipe=auto, make what is chosen the run's: print it, prepare the images, and write the recipe.
        device: that the run will train on; None for this machine's.

    Raises:
        UserError: for anything that is wrong with the recipe or the images.
    """
    name, given = loading.split(arguments)
    if name != NAME:
        return loading.load(arguments)
    path = _take_path(given)
    run_dir = given.pop("run_dir", None) or (f"runs/{Path(os.path.abspath(path)).stem}" if path else None)
    if run_dir is None:
        raise RecipeError("recipe=auto needs data.path=IMAGES: a folder or zip of images, or shards that `scalegan "
                          "prepare` wrote; or run_dir=RUN, to resume a run that it began")
    file = Path(str(run_dir)) / FILE
    is_rank_0 = os.environ.get("RANK", "0") == "0"
    if not is_file(file) and (is_rank_0 or not begin):
        return _chosen(file, path, given, device or this_device(), begin)
    if not is_rank_0:
        _wait_for(file)
    if path:
        given = loading.merge(given, _data_given(file, path))
    return loading.overridden({**loading.tree_of(file), "run_dir": str(run_dir)}, given, str(file), str(run_dir))


def this_device() -> Device:
    """The device that this process would train on."""
    import torch

    if torch.cuda.is_available():
        number = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        return Device("gpu", torch.cuda.get_device_properties(number).total_memory)
    return Device("cpu")


def _take_path(given: dict[str, Any]) -> str | None:
    """Takes data.path out of the command line's keys: the run reads its own shards, where it has prepared them."""
    data = given.get("data")
    path = data.pop("path", None) if isinstance(data, dict) else None
    return str(path) if path else None


def _chosen(file: Path, path: str | None, given: dict[str, Any], device: Device, begin: bool) -> Recipe:
    """The recipe that the rules choose, checked; where it is to `begin`, also printed, prepared for, and written."""
    from scalegan.data.preparing.facts import look

    if path is None:
        raise RecipeError(f"{file.parent} holds no run that recipe=auto began; add data.path=IMAGES to begin one")
    if (file.parent / "config.yaml").exists():
        raise RecipeError(f"{file.parent} holds a run that recipe=auto did not begin; choose another run_dir")
    source, labels = _local(path), "none" if _of_data(given, "labels") == "none" else "auto"
    found = look(source, labels)
    choices = [_noted(choice, given) for choice in choose(found.images, device, given)]
    read_in_place = found.images.prepared or _of_data(given, "backend") == "folder"
    shards = file.parent / "data"
    tree: dict[str, Any] = {"data": {"path": path if read_in_place else str(shards)}}
    for choice in choices:
        tree = loading.merge(tree, choice.keys)
    tree = loading.merge(tree, given)
    recipe = loading.overridden({**tree, "run_dir": str(file.parent)}, given, f"recipe={NAME}", str(file.parent))
    if not begin:
        return recipe
    title = f"{found.images}, on {device}"
    print("\n".join([f"recipe=auto for {path}: {title}", *_table(choices)]), flush=True)
    if not read_in_place:
        _prepare(source, shards, found, labels, recipe.data.resolution)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, _text(f"{title}: chosen by recipe=auto for {path}", choices, tree, file))
    print(f"written to {file}: edit a copy, or override its keys on the command line", flush=True)
    return recipe


def _of_data(given: dict[str, Any], key: str) -> Any:
    data = given.get("data")
    return data.get(key) if isinstance(data, dict) else None


def _local(path: str) -> Path:
    from scalegan.data.paths import expanded
    from scalegan.data.reading.cache import is_url

    if is_url(path) or path.startswith("embedded:"):
        raise RecipeError(f"data.path={path}: recipe=auto looks at images in files on this machine; name a recipe for "
                          "others (`scalegan recipes` lists them)")
    return Path(expanded(path))


def _data_given(file: Path, path: str) -> dict[str, Any]:
    """What data.path means for a run that has its recipe: shards replace those that it names; the images from which
    its own were prepared replace nothing.

    Raises:
        RecipeError: for other images.
    """
    from scalegan.data.preparing import journal
    from scalegan.data.preparing.facts import is_prepared

    shards, source = file.parent / "data", _local(path)
    if is_prepared(source) or not is_prepared(shards):
        return {"data": {"path": path}}
    before = journal.begun(shards).get("sources", [])
    if before != [str(source.resolve())]:
        raise RecipeError(f"{file.parent} holds a run on {', '.join(before)}, not {path}; choose another run_dir, or "
                          "leave out data.path to go on with it")
    return {}


def _wait_for(file: Path) -> None:
    """Returns once rank 0 has written the recipe; its launcher ends this process if it fails."""
    launcher = os.getppid()
    while not is_file(file):
        if os.getppid() != launcher:
            raise LostRank(f"the launcher ended before there was {file}")
        time.sleep(_POLL_SECONDS)


def _prepare(source: Path, shards: Path, found: "Found", labels: str, resolution: Resolution) -> None:
    from scalegan.data.preparing import preparation

    print(f"preparing the images once, in {shards}", flush=True)
    try:
        preparation.prepare(argparse.Namespace(
            source=[source], dest=shards, kind=found.kind, labels=labels, split=None, annotations=None,
            resolution=resolution, crop=found.crop, pad=None, filter="lanczos", encoding=None, quality=None,
            channels=None, format="webdataset", validation=0.0, shard_records=None, max_rejected=_MOST_BROKEN,
            workers=None, part=None, dry_run=False, captions=None, conditions=None, depth=None, alpha=None,
            encoder=None, latent_scale=None, mirrored=False))
    except preparation.TooManyRejected as error:
        raise UserError(f"{error.fact}; recipe=auto leaves out up to {_MOST_BROKEN:.0%}; mend or remove those that "
                        f"{shards / preparation.REJECTED} lists, and take a new run_dir; or leave them out yourself: "
                        f"scalegan prepare {source} NEW_FOLDER --max-rejected 1.0, then data.path=NEW_FOLDER") from None


def _noted(choice: Choice, given: dict[str, Any]) -> Choice:
    """The choice, saying which of its keys the command line overrides."""
    keys = ", ".join(_overridden(choice.keys, given))
    return replace(choice, why=f"{choice.why}; as given: {keys}") if keys else choice


def _overridden(keys: dict[str, Any], given: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key in (key for key in keys if key in given):
        if isinstance(keys[key], dict) and isinstance(given[key], dict):
            yield from _overridden(keys[key], given[key], f"{prefix}{key}.")
        elif keys[key] != given[key]:
            yield prefix + key


def _table(choices: list[Choice]) -> list[str]:
    width = max(len(choice.what) for choice in choices)
    return [f"{choice.about:<10} {choice.what:<{width}}  {choice.why}" for choice in choices]


def _text(title: str, choices: list[Choice], tree: dict[str, Any], file: Path) -> str:
    """The recipe's file: what was chosen and why, and the keys."""
    header = [title, *_table(choices), "To try other values, edit a copy: scalegan train recipe=COPY.yaml "
              f"run_dir={file.parent}_2"]
    own = json.loads(json.dumps({key: value for key, value in tree.items() if key != "resume"}))    # without aliases
    keys = yaml.safe_dump(own, sort_keys=False, default_flow_style=None, width=1000, allow_unicode=True)
    return "".join(f"# {line}\n" for line in header) + keys
