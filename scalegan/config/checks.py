"""Rejects combinations of keys that cannot work, each with a remedy."""

from collections.abc import Callable

from scalegan.config import Engine, Recipe, Schedule
from scalegan.config.game import of_family, players_of, problems_of, streams_of
from scalegan.config.models import AUTOENCODERS, BY_LABELS, CONVERTED, IMAGE_TO_IMAGE, UPSCALERS
from scalegan.config.origin import Origin
from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean
from scalegan.support.resolution import Resolution, fits, nearest

# Resolutions for which a family has both networks; of images that are not square, of the shorter side.
RESOLUTIONS = {"dcgan": (16, 32, 64, 128, 256), "text_dcgan": (16, 32, 64, 128),
               "biggan": (32, 64, 128, 256), "biggan_deep": (32, 64, 128, 256),
               "stylegan2": tuple(8 << i for i in range(8)), "r3gan": tuple(4 << i for i in range(9))}
# Games that differentiate losses with respect to all weights of a player.
_DIFFERENTIATE_WEIGHTS = ("consensus", "unrolled")


def nearest_resolutions(size: Resolution) -> str:
    """'64 and 128' for 100, which no convolutional family has; empty for a resolution that some family has."""
    known = sorted({side for sides in RESOLUTIONS.values() for side in sides})
    if fits(size, known):
        return ""
    if isinstance(size, str):
        return " and ".join(map(str, nearest(size, known)))
    below, above = [side for side in known if side < size], [side for side in known if side > size]
    return " and ".join(map(str, below[-1:] + above[:1]))


def check(recipe: Recipe, origin: Origin) -> None:
    """Raises RecipeError for the first combination that cannot work; `origin` says where its keys come from."""
    def need(holds: bool, message: str) -> None:
        if not holds:
            raise RecipeError(f"{origin.of_combination(message)}: {message}")

    batch, micro, data = recipe.batch_size, recipe.micro_batch_size, recipe.data
    need(batch % recipe.lanes == 0, f"lanes={recipe.lanes} does not divide batch_size={batch}; change one of them")
    need(micro is None or batch % micro == 0,
         f"micro_batch_size={micro} does not divide batch_size={batch}; change one of them")
    _check_players(recipe, need)
    _check_streams(recipe, need)
    need(recipe.model.name not in CONVERTED, f"model.name={recipe.model.name} is what `scalegan convert` makes of "
         "published weights, and no game trains it; set another model.name")
    for problem in problems_of(recipe):
        need(False, problem)
    _check_schedules(recipe, need)
    _check_augment(recipe, need)
    if of_family(recipe):
        _check_family(recipe, need)
    need(recipe.init_classes is None or recipe.init_from, "init_classes chooses among the classes of init_from; set "
         "init_from, or leave out init_classes")
    need(not recipe.freeze or recipe.game.name not in _DIFFERENTIATE_WEIGHTS, f"game.name={recipe.game.name} takes "
         "gradients of all weights in its losses; leave out freeze")
    need(data.backend != "points" or data.labels == "none", "2-D points have no labels; use data.labels=none")
    _check_engine(recipe.engine, need)
    sharded = recipe.engine.name == "fsdp" or (recipe.engine.name == "deepspeed" and recipe.engine.zero_stage == 3)
    tricks = getattr(recipe.game, "tricks", None)
    need(not sharded or tricks is None or tricks.historical_averaging is None, "game.tricks.historical_averaging keeps "
         f"the mean of all weights on every rank, and engine.name={recipe.engine.name} partitions them; leave it out, "
         "or set engine.name=ddp")
    need(bool(data.path), "data.path is not given; set it to a folder that `scalegan prepare` wrote")


def _check_family(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    """Checks what the networks of `model` require of the samples and the batch."""
    model, data, batch = recipe.model, recipe.data, recipe.batch_size
    need(data.backend != "points" or model.name == "mlp", "data.backend=points makes 2-D points; use model.name=mlp")
    need(model.name not in IMAGE_TO_IMAGE, f"model.name={model.name} turns images into images, and "
         f"game.name={recipe.game.name} makes them from z; use game.name=pix2pix, or another model.name")
    need(model.name not in UPSCALERS, f"model.name={model.name} enlarges images, and game.name={recipe.game.name} "
         "makes them from z; use game.name=srgan, or another model.name")
    need(model.name not in BY_LABELS, f"model.name={model.name} gives images other labels, and "
         f"game.name={recipe.game.name} makes them from z; use game.name=stargan, or another model.name")
    need(model.name not in AUTOENCODERS or recipe.game.name == "aae", f"model.name={model.name} encodes images and "
         f"decodes them, and game.name={recipe.game.name} makes them from z; use game.name=aae, or another model.name")
    sizes = RESOLUTIONS.get(model.name, (data.resolution,))
    square = len(set(data.sides)) == 1
    need(not square or data.resolution in sizes,
         f"data.resolution={data.resolution}: {model.name} supports {', '.join(map(str, sizes))}")
    if not square and model.name in RESOLUTIONS and not fits(data.resolution, sizes):
        need(False, f"data.resolution={data.resolution}: the shorter side of {model.name}'s images is one of "
             f"{', '.join(map(str, sizes))}, and the longer one a multiple of a quarter of it; prepare the data at "
             f"{' or '.join(map(str, nearest(data.resolution, sizes)))}")
    if model.name == "text_dcgan" or (model.name == "dcgan" and model.norm != "none"):
        group = model.norm_group
        need(group == "batch" or batch % group == 0, f"model.norm_group={group} does not divide batch_size={batch}; "
             "change one of them, or set model.norm_group=batch")


def _check_players(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    """Checks that exactly the players have optimizers."""
    players = players_of(recipe)
    named = f"{', '.join(players[:-1])} and {players[-1]}" if len(players) > 1 else players[0]
    has = ", ".join(sorted(recipe.optimizer)) or "none"
    unknown = next((name for name in recipe.optimizer if name not in players), "")
    need(set(recipe.optimizer) == set(players), f"optimizer must name the players {named}, but has {has}"
         f"{did_you_mean(unknown, [*players, 'default'])}; use optimizer.default for players that are not named")


def _check_streams(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    """`data` configures the first stream, `streams` the others."""
    first, *others = streams_of(recipe)
    for name in recipe.streams:
        need(name in others, f"streams.{name}: game.name={recipe.game.name} has no such stream"
             + (f", but {', '.join(others)}" if others else "; its only stream is data")
             + did_you_mean(name, others))
    for name in others:
        need(name in recipe.streams and bool(recipe.streams[name].path),
             f"streams.{name}.path is not given: game.name={recipe.game.name} needs samples of {first} (data) and "
             f"{', '.join(others)}")
    for name in recipe.eval.streams:
        need(name != first, f"eval.streams.{name}: that is the game's first stream; use eval.data")
        need(name in others, f"eval.streams.{name}: there is no such stream{did_you_mean(name, others)}")


def _check_engine(engine: Engine, need: Callable[[bool, str], None]) -> None:
    need(engine.name == "ddp" or engine.reduction == "fast", "engine.reduction=tree needs engine.name=ddp: "
         f"{engine.name} sums in its own order; use engine.reduction=fast")
    need(engine.name == "ddp" or not engine.cuda_graphs, "engine.cuda_graphs=true needs engine.name=ddp: the "
         f"backward passes of {engine.name} cannot be recorded; use engine.cuda_graphs=false")


def _check_schedules(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    """Checks a schedule's values against the bounds of a plain number."""
    for player, optimizer in recipe.optimizer.items():
        need(not isinstance(optimizer.lr, Schedule) or max(_values(optimizer.lr)) > 0,
             f"optimizer.{player}.lr is 0 throughout")
        need(optimizer.name == "sgd" or not optimizer.momentum,
             f"optimizer.{player}.momentum applies only to name=sgd, not {optimizer.name}; set it to 0")
        for key, rate in (("betas", optimizer.betas[0]), ("betas", optimizer.betas[1]),
                          ("momentum", optimizer.momentum)):
            need(max(_values(rate)) < 1, f"optimizer.{player}.{key}: {max(_values(rate))} is not below 1")
    if recipe.power_ema:
        need(recipe.power_ema.sigma_rel[0] != recipe.power_ema.sigma_rel[1], "power_ema.sigma_rel needs two different "
             "lengths")


def _check_augment(recipe: Recipe, need: Callable[[bool, str], None]) -> None:
    augment = recipe.augment
    need(recipe.data.backend != "points" or augment.name == "none",
         "data.backend=points makes 2-D points; use augment.name=none")
    if augment.name != "ada":
        return
    need(max(_values(augment.p)) <= 0.85, f"augment.p: {max(_values(augment.p))} is above 0.85, beyond which "
         "augmentations leak into the samples")
    need(augment.target is None or isinstance(augment.p, float),
         "augment.p is a schedule, and augment.target would change it too; set augment.target=null")


def _values(value: float | Schedule) -> list[float]:
    """A number, or all values that bound a schedule."""
    if not isinstance(value, Schedule):
        return [value]
    return [value.start, *value.steps.values()] + ([] if value.end is None else [value.end])
