"""From a recipe to the parts of a run."""

from functools import partial
from pathlib import Path

from scalegan import config
from scalegan.augment import Augment
from scalegan.augment.ada import Ada, Adaptive, Given
from scalegan.augment.diffaugment import DiffAugment
from scalegan.augment.instance_noise import InstanceNoise
from scalegan.data.opening import data_folder, expanded
from scalegan.data.reading.cache import is_url
from scalegan.data.spec import Task
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Game
from scalegan.games.compiled import Compiled
from scalegan.games.consistency import Consistency
from scalegan.games.fakes import StyledFakes, plain_fakes
from scalegan.games.gan import objectives
from scalegan.games.gan.game import GAN
from scalegan.games.path_length import PathLength
from scalegan.games.unrolled.game import Unrolled
from scalegan.models import families
from scalegan.models.layers.recompute import recompute_blocks
from scalegan.randomness import parameter_generators


def evaluation_images(data: config.Data):
    """What a run's samples are held against: its own data, as it sees them.

    Raises:
        UserError: where that is 2-D points, or the shards are gone.
    """
    from scalegan.metrics.images import RunImages, StoredImages

    if data.backend == "points":
        raise RecipeError("data.backend=points makes 2-D points, which have no features to evaluate; leave eval out")
    if is_url(expanded(data.path)):
        return StoredImages(expanded(data.path))
    folder = data_folder(data.path, data.resolution)
    return RunImages(folder, data.resolution) if data.backend == "folder" else StoredImages(folder)


def evaluator(recipe: config.Recipe, task: Task, ranks: Ranks):
    """What measures the averaged generator at `eval.every_images`; imported for those who ask for it alone."""
    from scalegan.metrics.in_training import InTraining

    about = {"model": {"name": recipe.model.name}, "task": vars(task)}
    return InTraining(recipe.eval, about, evaluation_images(recipe.data), ranks, Path(recipe.run_dir))


def game(recipe: config.Recipe, task: Task) -> Game:
    """The recipe's game, with initial weights keyed by (seed, player, parameter name)."""
    generator, discriminator = families.build(recipe.model, task)
    settings, penalties = recipe.game, recipe.game.penalties
    r1, r2 = penalties.r1 or config.R1(gamma=0), penalties.r2 or config.R2(gamma=0)
    path = penalties.path_length
    styled = recipe.model.name == "stylegan2"
    discriminator = objectives.discriminator(recipe, task, discriminator)
    kind = partial(Unrolled, steps=settings.steps, step_size=settings.step_size) if settings.name == "unrolled" else GAN
    played = kind(
        generator, discriminator, objectives.loss(settings), r1_gamma=r1.gamma, r1_every=r1.every, r2_gamma=r2.gamma,
        path_length=PathLength(path.weight, path.decay) if path else None, path_every=path.every if path else 1,
        orthogonal=penalties.orthogonal.weight if penalties.orthogonal else 0.0,
        consistency=Consistency(**vars(penalties.bcr)) if penalties.bcr else None, augment=augment(recipe),
        fakes=StyledFakes(recipe.model.mixing) if styled else plain_fakes,
        order=settings.order, fresh_batch=settings.fresh_batch, updates=settings.updates,
        tricks=objectives.tricks(settings, generator, discriminator), clip=objectives.clip(settings))
    initialise(played, recipe.seed)
    if recipe.engine.activation_checkpointing:
        for player in played.players.values():
            recompute_blocks(player)
    if recipe.engine.compile:
        played.quick = {name: Compiled(player) for name, player in played.players.items()}
    return played


def augment(recipe: config.Recipe) -> Augment:
    """What the recipe does to images before D sees them."""
    noise = recipe.game.tricks.instance_noise
    return InstanceNoise(_augment(recipe), noise) if noise else _augment(recipe)


def _augment(recipe: config.Recipe) -> Augment:
    settings = recipe.augment
    if settings.name == "none":
        return Augment()
    if settings.name == "diffaugment":
        return DiffAugment(settings.policies)
    given = settings.target is None
    probability = Given(settings.p) if given else \
        Adaptive(settings.p, settings.target, recipe.batch_size / settings.adapt_images)
    return Ada(vars(settings.pipe), probability)


def initialise(played: Game, seed: int) -> None:
    """Fills every player's weights from generators keyed by (seed, player, parameter name)."""
    for name, player in played.players.items():
        player.initialise(parameter_generators(seed, name))
