"""The loss, discriminator and penalties that a recipe's `game` asks for."""

import torch
from torch import nn

from scalegan import config, losses
from scalegan.config.game import groups_of
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.gan.mixture import Deviations, LatentMixture
from scalegan.games.penalties import Penalty
from scalegan.games.penalties.alignment import Alignment
from scalegan.games.penalties.consistency import Consistency
from scalegan.games.penalties.feature_matching import FeatureMatching
from scalegan.games.penalties.finite_difference import FiniteDifferences, Probe
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.games.penalties.gradient_penalty import GradientPenalty
from scalegan.games.penalties.historical_averaging import HistoricalAveraging
from scalegan.games.penalties.lecam import LeCam
from scalegan.games.penalties.orthogonal import Orthogonal
from scalegan.games.penalties.path_length import PathLength
from scalegan.games.penalties.pull_away import PullAway
from scalegan.losses import AdversarialLoss
from scalegan.models import efflite0, families
from scalegan.models.layers.minibatch_discrimination import MinibatchDiscrimination
from scalegan.models.layers.slicing import sliced
from scalegan.models.projected import Discriminator as ProjectedDiscriminator

# Objectives that add something to another loss.
_BASES = {"wasserstein_clip": "wasserstein", "wgan_gp": "wasserstein", "ebgan_pt": "ebgan"}
_CLIP = 0.01  # Arjovsky et al. (2017), algorithm 1


def loss(game: config.Game) -> AdversarialLoss:
    """D's and G's losses, with the recipe's parameters."""
    chosen = losses.least_squares(game.a, game.b, game.c) if game.loss == "least_squares" else plain_loss(game)
    chosen = losses.smoothed(chosen, game.tricks.label_smoothing) if game.tricks.label_smoothing < 1 else chosen
    return losses.directed(chosen) if game.tricks.san else chosen


def plain_loss(game: config.Game) -> AdversarialLoss:
    """The loss by its name alone, with the margin of energies; games beside `gan` use it, too."""
    name = _BASES.get(game.loss, game.loss)
    return losses.energy_based(game.margin) if name == "ebgan" else losses.LOSSES[name]


def clip(game: config.Game) -> float | None:
    """Clipping bound of D's weights, or None."""
    return game.clip or (_CLIP if game.loss == "wasserstein_clip" else None)


def generator(game: config.Game, plain: nn.Module) -> nn.Module:
    """The family's generator as the game needs it: with latents from a learned mixture, or `plain`."""
    mixture = game.tricks.latent_mixture
    return LatentMixture(plain, mixture.components, mixture.deviation) if mixture else plain


def projected(keys: config.Projected, spec: Spec) -> nn.Module:
    """Projected GAN's discriminator of these samples.

    Raises:
        RecipeError: without its packages, or for images that have neither 1 nor 3 channels.
    """
    if spec.shape[0] not in (1, 3):
        raise RecipeError(f"game.discriminator.name=projected sees images of 1 or 3 channels, not {spec.shape[0]}; "
                          "leave out game.discriminator")
    try:
        features = efflite0.Pyramid()
    except ImportError:
        raise RecipeError("game.discriminator.name=projected needs packages that are not installed: pip install "
                          "'scalegan[metrics]'") from None
    return ProjectedDiscriminator(features.eval().requires_grad_(False), efflite0.WIDTHS, keys.width, keys.size,
                                  spec.num_classes or spec.vector_dim, spec.multilabel or spec.vector_dim > 0,
                                  keys.norm_group)


def discriminator(recipe: config.Recipe, spec: Spec, plain: nn.Module) -> nn.Module:
    """The family's discriminator as the game needs it: an auto-encoder, with SAN's last layer, with minibatch
    discrimination, or `plain`.

    A relativistic loss and finite differences both see differences of logits alone, in which a bias of the last layer
    cancels. Its gradient is rounding, which Adam would turn into whole steps that differ with the number of ranks, so
    that D goes without.

    Raises:
        RecipeError: if a trick needs D's features, and the family's D does not expose them.
    """
    if recipe.game.loss in ("ebgan", "ebgan_pt"):
        plain = families.energy(recipe.model, spec)
    if recipe.game.loss == "relativistic" and probes(recipe.game.penalties):
        families.drop_last_bias(plain)
    if recipe.game.tricks.san:
        plain = sliced(plain)
    if recipe.game.tricks.alignment and (spec.kind != "image" or spec.shape[0] not in (1, 3)):
        raise RecipeError("game.tricks.alignment needs a network's features of images with 1 or 3 channels, and these "
                          f"samples are {spec.kind}s with {spec.shape[0]}; leave it out")
    if recipe.game.discriminator:
        return plain
    minibatch, groups = recipe.game.tricks.minibatch_discrimination, groups_of(recipe)
    if groups and not hasattr(plain, "encode"):
        trick = next(iter(groups)).removesuffix(".group")
        raise RecipeError(f"{trick} needs D's last features, which model.name={recipe.model.name} does not expose; "
                          "use dcgan or mlp")
    if minibatch is None:
        return plain
    return MinibatchDiscrimination(plain, plain.encoding_size, minibatch.kernels, minibatch.kernel_dim, minibatch.group)


def differentiates(game: config.Game) -> bool:
    """Whether a loss contains D's gradient, so that D is differentiated twice."""
    exact = [r for r in (game.penalties.r1, game.penalties.r2) if r and r.gamma and r.method == "exact"]
    return bool(exact) or game.name == "unrolled" or game.penalties.gradient is not None or game.loss == "wgan_gp"


def probes(keys: config.Penalties) -> dict[str, Probe]:
    """How R1 and R2 are approximated, by side, where they are."""
    sides = {"real": keys.r1, "fake": keys.r2}
    return {side: Probe(r.gamma, r.sigma, r.antithetic, r.share, r.noise == "augmented")
            for side, r in sides.items() if r and r.gamma and r.method == "finite_difference"}


def penalties(game: config.Game, generator: nn.Module, discriminator: nn.Module) -> dict[str, Penalty]:
    """Penalties by name, in the order in which their terms are added."""
    keys, tricks = game.penalties, game.tricks
    gradient = keys.gradient or (config.GradientPenalty() if game.loss == "wgan_gp" else None)
    pull_away = keys.pull_away or (config.PullAway() if game.loss == "ebgan_pt" else None)
    found: dict[str, Penalty] = {}
    approximated = probes(keys)
    if "real" in approximated and keys.r1.every > 1:
        found["r1"] = FiniteDifferences({"real": approximated.pop("real")}, keys.r1.every)
    elif keys.r1 and keys.r1.gamma and "real" not in approximated:
        found["r1"] = R1R2Penalty("real", keys.r1.gamma, keys.r1.every)
    if keys.r2 and keys.r2.gamma and "fake" not in approximated:
        found["r2"] = R1R2Penalty("fake", keys.r2.gamma)
    if approximated:
        found["finite_differences"] = FiniteDifferences(approximated)
    if keys.path_length and keys.path_length.weight:
        found["path_length"] = PathLength(keys.path_length.weight, keys.path_length.decay, keys.path_length.every)
    if keys.bcr:
        found["bcr"] = Consistency(**vars(keys.bcr))
    if keys.lecam and keys.lecam.weight:
        found["lecam"] = LeCam(**vars(keys.lecam))
    if gradient:
        found["gradient_penalty"] = GradientPenalty(gradient.weight)
    if pull_away:
        found["pull_away"] = PullAway(pull_away.weight, pull_away.group)
    if tricks.feature_matching:
        found["feature_matching"] = FeatureMatching(tricks.feature_matching.weight, tricks.feature_matching.group)
    if tricks.historical_averaging:
        weight = tricks.historical_averaging.weight
        found["historical_averaging"] = HistoricalAveraging(generator, discriminator, weight)
    if tricks.alignment:
        network = families.backbone(tricks.alignment.backbone, tricks.alignment.size).eval()
        found["alignment"] = Alignment(network, tricks.alignment.weight)
        with torch.no_grad():
            whole, _ = network(torch.zeros(1, 3, 32, 32))
        discriminator.align(tricks.alignment.hidden, whole.shape[1])
    if tricks.latent_mixture:
        found["latent_mixture"] = Deviations(tricks.latent_mixture.weight)
    if keys.orthogonal and keys.orthogonal.weight:
        found["orthogonal"] = Orthogonal(keys.orthogonal.weight)
    return found
