"""From `recipe=NAME key=value ...` to a checked `Recipe`: lookup, merge, check, print. Never imports torch."""

import difflib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from yaml import YAMLError

from scalegan.config import Engine, Game, PullAway, Recipe, Schedule
from scalegan.errors import RecipeError
from scalegan.recipe_help import describe_keys
from scalegan.recipe_list import available, folders

_ADAPTER = TypeAdapter(Recipe)


def load(arguments: list[str]) -> Recipe:
    """The recipe that the command line names, with its overrides.

    Raises:
        RecipeError: for anything that is wrong with it, in one line with the nearest valid name.
    """
    wrong = [a for a in arguments if "=" not in a]
    if wrong:
        raise RecipeError(f"'{wrong[0]}' is not of the form key=value")
    names = [a.partition("=")[2] for a in arguments if a.startswith("recipe=")]
    if len(names) != 1:
        raise RecipeError("say which recipe to run: recipe=NAME (`scalegan recipes` lists them) or recipe=PATH.yaml")
    path = find(names[0])
    tree = _read(path)
    tree.setdefault("run_dir", f"runs/{path.stem}")
    try:
        dotted = OmegaConf.from_dotlist([a for a in arguments if not a.startswith("recipe=")])
        overrides = OmegaConf.to_container(dotted, resolve=False)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise RecipeError(f"cannot read the overrides: {_first_line(error)}") from error
    return parse(merge(tree, overrides), origin=path.name)


def find(name: str) -> Path:
    """The file of a recipe given by name or path."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {name}")
        return path
    for folder in folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RecipeError(f"there is no recipe '{name}'{_nearest(name, available())}; `scalegan recipes` lists them")


def parse(tree: dict[str, Any], origin: str) -> Recipe:
    """A checked recipe from plain dictionaries; `origin` names their file in errors."""
    try:
        recipe = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise RecipeError(f"{origin}: {_explain(error, tree)}") from error
    _check(recipe, origin)
    return recipe


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe, as it can be read again."""
    return OmegaConf.to_yaml(OmegaConf.create(to_dict(recipe)))


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as JSON would hold it: dictionaries and lists, no tuples."""
    return json.loads(json.dumps(asdict(recipe)))


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise RecipeError(f"cannot read {path}: {_first_line(error)}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} holds no keys")
    tree.pop("records", None)  # a run's config.yaml says where it computed, and on what data
    if isinstance(tree.get("data"), dict):
        tree["data"].pop("content", None)
    merged: dict[str, Any] = {}
    parents = tree.pop("extends", [])
    for parent in [parents] if isinstance(parents, str) else parents:
        candidates = [folder / f"{parent}.yaml" for folder in [path.parent, *folders()]]
        base = next((c for c in candidates if c.is_file()), None)
        if base is None:
            raise RecipeError(f"{path.name}: extends '{parent}', which is not there")
        merged = merge(merged, _read(base))
    return merge(merged, tree)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`; where a group takes another name, the old name's keys go with it."""
    if "name" in over and "name" in base and over["name"] != base["name"]:
        base = {}
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if both else value
    return merged


def _explain(error: ValidationError, tree: dict[str, Any]) -> str:
    """The first thing that is wrong, unknown keys before all, as a user would say it."""
    def urgency(e: Any) -> tuple[bool, bool]:  # of a schedule, what is wrong inside, not that it is no number
        return e["type"] != "unexpected_keyword_argument", e["type"].endswith("_type") and isinstance(e["input"], dict)
    first = min(error.errors(), key=urgency)
    loc = [str(part) for part in first["loc"]]
    if first["type"] == "unexpected_keyword_argument":
        shown = _shown(loc, tree)
        member = loc[1] if len(loc) > 1 else "G"
        keys = [key.replace("PLAYER", member).replace("NAME", member) for key, _, _ in describe_keys()]
        leaf = shown.rsplit(".", 1)[-1]
        parent = shown[: len(shown) - len(leaf)]
        siblings = {k[len(parent):].split(".")[0]: k for k in keys if k.startswith(parent)}
        close = difflib.get_close_matches(leaf, siblings, 1, 0.5)
        hint = f"; did you mean '{parent}{close[0]}'?" if close else _nearest(shown, keys)
        return f"unknown key '{shown}'{hint}"
    if first["type"] == "missing_keyword_only_argument" or first["type"] == "missing":
        return f"'{_shown(loc, tree)}' is not given"
    if first["type"] == "union_tag_not_found":
        return f"'{_shown(loc, tree)}.name' is not given"
    message = first["msg"].replace("Input should be", "should be").removeprefix("Value error, ").split(", unable")[0]
    expected = (first.get("ctx") or {}).get("expected_tags") or (first.get("ctx") or {}).get("expected") or ""
    choices = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    value = first["input"]
    if first["type"] == "union_tag_invalid":
        value, message = value.get("name"), f"should be one of {expected}"
        loc = [*loc, "name"]
    return f"{_shown(loc, tree)}={value}: {message}{_nearest(str(value), choices)}"


def _shown(loc: list[str], tree: Any) -> str:
    """The key as typed: pydantic puts the tag of a union and the names of its branches into the path."""
    kept = []
    for index, part in enumerate(loc):
        inside = isinstance(tree, dict) and part in tree
        if inside or (index == len(loc) - 1 and part.isidentifier() and part not in ("float", "int")):
            kept.append(part)
        if inside:
            tree = tree[part]
        if not isinstance(tree, dict):
            break
    return ".".join(kept)


def _nearest(name: str, valid: Any) -> str:
    close = difflib.get_close_matches(name, [v for v in valid if v], 1, 0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().replace("\n", " ")


# Sides that a family has both networks for.
RESOLUTIONS = {"dcgan": (16, 32, 64, 128, 256), "biggan": (32, 64, 128, 256),
               "stylegan2": tuple(8 << i for i in range(8)), "r3gan": tuple(4 << i for i in range(9))}


def _check(recipe: Recipe, origin: str) -> None:
    """Combinations that cannot work, each with what to do."""
    def need(holds: bool, message: str) -> None:
        if not holds:
            raise RecipeError(f"{origin}: {message}")

    batch, micro, model, data = recipe.batch_size, recipe.micro_batch_size, recipe.model, recipe.data
    need(batch % recipe.lanes == 0, f"lanes={recipe.lanes} does not divide batch_size={batch}")
    need(micro is None or batch % micro == 0, f"micro_batch_size={micro} does not divide batch_size={batch}")
    need(set(recipe.optimizer) == {"G", "D"},
         f"optimizer must name the players G and D, and has {', '.join(sorted(recipe.optimizer)) or 'none'}")
    need(recipe.game.order[0] != recipe.game.order[1], "game.order must name D and G once each")
    need(recipe.game.order[0] in recipe.game.fresh_batch,
         f"game.fresh_batch must hold {recipe.game.order[0]}, which moves first")
    need(recipe.game.loss != "relativistic" or recipe.game.penalties.r1 or recipe.game.penalties.gradient,
         "game.loss=relativistic needs a gradient penalty to converge; give game.penalties.r1.gamma")
    _check_game(recipe, need)
    _check_schedules(recipe, need)
    _check_augment(recipe, need)
    points = data.backend == "points"
    need(not points or model.name == "mlp", "data.backend=points makes 2-D points; use model.name=mlp")
    need(not points or data.labels == "none", "2-D points have no labels; use data.labels=none")
    _check_engine(recipe.engine, need)
    need(bool(data.path), "data.path is not given: a folder that `scalegan prepare` wrote")
    sizes = RESOLUTIONS.get(model.name, (data.resolution,))
    need(data.resolution in sizes,
         f"data.resolution={data.resolution}: {model.name} has {', '.join(map(str, sizes))}")
    if model.name == "dcgan":
        group = model.norm_group
        need(group == "batch" or batch % group == 0, f"model.norm_group={group} does not divide batch_size={batch}")


def _check_game(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    """Objectives and tricks that do not go together."""
    game, tricks = recipe.game, recipe.game.tricks
    energy = game.loss in ("ebgan", "ebgan_pt")
    need(game.loss == "least_squares" or (game.a, game.b, game.c) == (0.0, 1.0, 1.0),
         f"game.a, game.b and game.c belong to loss=least_squares, not to {game.loss}")
    need(energy or game.margin == 1.0, f"game.margin belongs to loss=ebgan and ebgan_pt, not to {game.loss}")
    need(not energy or recipe.data.labels == "none",
         f"game.loss={game.loss} has an auto-encoder for D, which knows no labels; use data.labels=none")
    need(not energy or tricks.minibatch_discrimination is None,
         f"game.loss={game.loss} has no layer that minibatch discrimination could feed; leave it out")
    lazy = (game.penalties.r1 is not None and game.penalties.r1.every > 1) or game.penalties.path_length is not None
    need(tricks.adaptive_updates is None or not lazy,
         "game.tricks.adaptive_updates changes the number of updates that lazy penalties count; use "
         "game.penalties.r1.every=1 and no path_length")


def trick_groups(game: Game) -> dict[str, int]:
    """Samples that tricks in effect are defined over, by key."""
    tricks, pull_away = game.tricks, game.penalties.pull_away
    found = {f"game.tricks.{name}.group": getattr(tricks, name).group
             for name in ("feature_matching", "minibatch_discrimination") if getattr(tricks, name)}
    if pull_away or game.loss == "ebgan_pt":
        found["game.penalties.pull_away.group"] = (pull_away or PullAway()).group
    return found


def _check_engine(engine: Engine, need: Callable[[bool, str], None]) -> None:
    need(engine.zero_stage != 3, "engine.zero_stage=3 cuts up the weights themselves, and the second derivative that "
         "gradient penalties take of them fails there, or is silently wrong; use engine.zero_stage=2")
    need(engine.name == "ddp" or engine.reduction == "fast", "engine.reduction=tree is for engine.name=ddp; DeepSpeed "
         "sums in an order of its own")


def _check_schedules(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    """Bounds that a schedule's values keep as a plain number would."""
    for player, optimizer in recipe.optimizer.items():
        need(not isinstance(optimizer.lr, Schedule) or max(_values(optimizer.lr)) > 0,
             f"optimizer.{player}.lr is 0 throughout")
        for beta in optimizer.betas:
            need(max(_values(beta)) < 1, f"optimizer.{player}.betas: {max(_values(beta))} is not below 1")
    if recipe.power_ema:
        need(recipe.power_ema.sigma_rel[0] != recipe.power_ema.sigma_rel[1], "power_ema.sigma_rel needs two lengths")


def _check_augment(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    augment, loss = recipe.augment, recipe.game.loss
    need(recipe.data.backend != "points" or recipe.game.penalties.bcr is None,
         "data.backend=points makes 2-D points; game.penalties.bcr shifts images")
    need(recipe.data.backend != "points" or augment.name == "none",
         "data.backend=points makes 2-D points; use augment.name=none")
    if augment.name != "ada":
        return
    need(max(_values(augment.p)) <= 0.85, f"augment.p: {max(_values(augment.p))} is above 0.85, from where on "
         "augmentations leak into the samples")
    if augment.target is not None:
        need(isinstance(augment.p, float),
             "augment.p is a schedule, and augment.target would move it too; give augment.target=null")
        need(loss not in ("relativistic", "wasserstein", "wasserstein_clip", "wgan_gp", "ebgan", "ebgan_pt"),
             f"augment.target watches the sign of D at reals, which tells nothing with game.loss={loss}; give "
             "augment.target=null and augment.p")


def _values(value: float | Schedule) -> list[float]:
    """Every bound of a number or a schedule."""
    if not isinstance(value, Schedule):
        return [value]
    return [value.start, *value.steps.values()] + ([] if value.end is None else [value.end])


def check_world(recipe: Recipe, ranks: int) -> int:
    """The grain on that many ranks: samples that one forward takes.

    Raises:
        RecipeError: where the recipe cannot run on that many ranks.
    """
    batch, micro, lanes = recipe.batch_size, recipe.micro_batch_size, recipe.lanes
    if lanes % ranks:
        fits = max(n for n in range(1, ranks) if lanes % n == 0)
        raise RecipeError(f"{ranks} ranks do not divide lanes={lanes}; use {fits} ranks, or other lanes in a new run")
    share = batch // ranks
    grain = min(micro or share, share)
    if share % grain:
        raise RecipeError(f"micro_batch_size={micro} does not divide a rank's share of {share} "
                          f"(batch_size={batch} on {ranks} ranks)")
    if recipe.engine.reduction == "tree":
        if micro is None:
            raise RecipeError("engine.reduction=tree needs micro_batch_size, the grain that it sums in a fixed order")
        if micro > share or ranks & (ranks - 1):
            raise RecipeError(f"engine.reduction=tree needs a power of two of ranks and whole grains on each: "
                              f"micro_batch_size={micro}, share {share}, {ranks} ranks")
    group = getattr(recipe.model, "norm_group", None)
    group = batch if group == "batch" else group
    if group and grain % group and (grain != share or group % share):
        raise RecipeError(f"model.norm_group={recipe.model.norm_group} does not fit a grain of {grain} "
                          f"samples (share {share} of {ranks} ranks); make one a multiple of the other")
    for key, size in trick_groups(recipe.game).items():
        if grain % size:
            raise RecipeError(f"{key}={size} does not divide a grain of {grain} samples; make micro_batch_size a "
                              "multiple of it")
    mbstd = getattr(recipe.model, "mbstd_group", grain)
    if grain % mbstd:
        raise RecipeError(f"model.mbstd_group={mbstd} does not divide a grain of {grain} samples; set micro_batch_size "
                          "to a multiple of it")
    if group and group > grain and recipe.engine.reduction == "tree":
        raise RecipeError(f"engine.reduction=tree needs model.norm_group={group} inside a grain of {grain}")
    return grain
