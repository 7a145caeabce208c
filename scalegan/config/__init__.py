"""The one schema of a recipe: typed, frozen dataclasses. The docstring under a field is what `--help` prints.

Everything is counted in real images taken from the data stream, so that a recipe means the same on any number of
ranks; `*.every_images: 0` means never. Nothing here imports torch.
"""

import os

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for any, it reads every installed package

from scalegan.config.augment import Ada, Augment, DiffAugment, NoAugment, Pipe
from scalegan.config.data import Data
from scalegan.config.games import GAN, Game, Unrolled
from scalegan.config.models import DCGAN, MLP, R3GAN, BigGAN, Model, StyleGAN2
from scalegan.config.penalties import R1, R2, Consistency, GradientPenalty, Orthogonal, PathLength, Penalties, PullAway
from scalegan.config.recipe import Recipe
from scalegan.config.reports import Eval, Log, Snapshot
from scalegan.config.schedule import Schedule
from scalegan.config.schema import typed
from scalegan.config.training import Checkpoint, Ema, Engine, Health, Optimizer, PowerEma
from scalegan.config.tricks import (
    AdaptiveUpdates,
    FeatureMatching,
    HistoricalAveraging,
    MinibatchDiscrimination,
    Tricks,
)

__all__ = ["DCGAN", "GAN", "MLP", "R1", "R2", "R3GAN", "Ada", "AdaptiveUpdates", "Augment", "BigGAN", "Checkpoint",
           "Consistency", "Data", "DiffAugment", "Ema", "Engine", "Eval", "FeatureMatching", "Game", "GradientPenalty",
           "Health", "HistoricalAveraging", "Log", "MinibatchDiscrimination", "Model", "NoAugment", "Optimizer",
           "Orthogonal", "PathLength", "Penalties", "Pipe", "PowerEma", "PullAway", "Recipe", "Schedule",
           "Snapshot", "StyleGAN2", "Tricks", "Unrolled", "typed"]
