"""What a recipe's `game` adds to the plain two-player game: its loss, its discriminator, its tricks."""

from torch import nn

from scalegan import config, losses
from scalegan.config.ranks import trick_groups
from scalegan.data.spec import Task
from scalegan.errors import RecipeError
from scalegan.games.gan.tricks import Trick
from scalegan.games.gan.tricks.adaptive_updates import AdaptiveUpdates
from scalegan.games.gan.tricks.feature_matching import FeatureMatching
from scalegan.games.gan.tricks.gradient_penalty import GradientPenalty
from scalegan.games.gan.tricks.historical_averaging import HistoricalAveraging
from scalegan.games.gan.tricks.pull_away import PullAway
from scalegan.losses import AdversarialLoss
from scalegan.models import families
from scalegan.models.layers.minibatch_discrimination import MinibatchDiscrimination

# Objectives that are another loss with something added.
_BASES = {"wasserstein_clip": "wasserstein", "wgan_gp": "wasserstein", "ebgan_pt": "ebgan"}
_CLIP = 0.01  # Arjovsky et al. (2017), algorithm 1


def loss(game: config.Game) -> AdversarialLoss:
    """The pair of losses, with the recipe's parameters."""
    name = _BASES.get(game.loss, game.loss)
    if name == "least_squares":
        chosen = losses.least_squares(game.a, game.b, game.c)
    else:
        chosen = losses.energy_based(game.margin) if name == "ebgan" else losses.LOSSES[name]
    return losses.smoothed(chosen, game.tricks.label_smoothing) if game.tricks.label_smoothing < 1 else chosen


def clip(game: config.Game) -> float | None:
    """Bound of D's weights, or None."""
    return game.clip or (_CLIP if game.loss == "wasserstein_clip" else None)


def discriminator(recipe: config.Recipe, task: Task, plain: nn.Module) -> nn.Module:
    """D of the recipe's family as the game wants it: an auto-encoder, with minibatch discrimination, or `plain`.

    Raises:
        RecipeError: where the family's D has no features to work on.
    """
    if recipe.game.loss in ("ebgan", "ebgan_pt"):
        plain = families.energy(recipe.model, task)
    minibatch, groups = recipe.game.tricks.minibatch_discrimination, trick_groups(recipe.game)
    if groups and not hasattr(plain, "encode"):
        trick = next(iter(groups)).removesuffix(".group")
        raise RecipeError(f"{trick} works on D's last features, which model.name={recipe.model.name} does not show; "
                          "use dcgan or mlp")
    if minibatch is None:
        return plain
    return MinibatchDiscrimination(plain, plain.encoding_size, minibatch.kernels, minibatch.kernel_dim, minibatch.group)


def tricks(game: config.Game, generator: nn.Module, judge: nn.Module) -> dict[str, Trick]:
    """By name, in the order in which their terms are added."""
    penalties, chosen = game.penalties, game.tricks
    gradient = penalties.gradient or (config.GradientPenalty() if game.loss == "wgan_gp" else None)
    pull_away = penalties.pull_away or (config.PullAway() if game.loss == "ebgan_pt" else None)
    found: dict[str, Trick] = {}
    if gradient:
        found["gradient_penalty"] = GradientPenalty(gradient.weight)
    if pull_away:
        found["pull_away"] = PullAway(pull_away.weight, pull_away.group)
    if chosen.feature_matching:
        found["feature_matching"] = FeatureMatching(chosen.feature_matching.weight, chosen.feature_matching.group)
    if chosen.historical_averaging:
        found["historical_averaging"] = HistoricalAveraging(generator, judge, chosen.historical_averaging.weight)
    if chosen.adaptive_updates:
        found["adaptive_updates"] = AdaptiveUpdates(chosen.adaptive_updates.ratio, chosen.adaptive_updates.updates)
    return found
