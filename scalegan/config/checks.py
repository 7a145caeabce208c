"""Combinations of keys that cannot work, each with what to do."""

from collections.abc import Callable

from scalegan.config import Engine, Recipe, Schedule
from scalegan.errors import RecipeError

# Sides that a family has both networks for.
RESOLUTIONS = {"dcgan": (16, 32, 64, 128, 256), "biggan": (32, 64, 128, 256),
               "stylegan2": tuple(8 << i for i in range(8)), "r3gan": tuple(4 << i for i in range(9))}


def check(recipe: Recipe, origin: str) -> None:
    """Raises RecipeError for the first thing that does not go together; `origin` names the recipe's file."""
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
