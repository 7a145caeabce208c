"""The schema of a recipe: typed, frozen dataclasses. `--help` prints the docstring under each field.

Everything is counted in real images taken from the data stream, so that a recipe means the same on any number of
ranks; `*.every_images: 0` means never. Nothing here imports torch.
"""

import os
from importlib import import_module
from typing import Any

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # finding plugins means reading every package

_MODULES = {
    "scalegan.config.augment": ("Ada", "Augment", "DiffAugment", "NoAugment", "Pipe"),
    "scalegan.config.data": ("Data",),
    "scalegan.config.gat": ("GAT",),
    "scalegan.config.models": ("DCGAN", "MLP", "R3GAN", "BigGAN", "BigGANDeep", "Model", "Projected",
                               "StyleGAN2", "TextDCGAN"),
    "scalegan.config.penalties": ("R1", "R2", "Consistency", "GradientPenalty", "Orthogonal", "PathLength", "Penalties",
                                  "PullAway"),
    "scalegan.config.recipe": ("Recipe",),
    "scalegan.config.reports": ("Eval", "HeldOut", "Log", "Snapshot"),
    "scalegan.config.schedule": ("Schedule",),
    "scalegan.config.schema": ("typed",),
    "scalegan.config.training": ("Checkpoint", "Ema", "Engine", "Health", "Optimizer", "PowerEma"),
    "scalegan.config.tricks": ("AdaptiveUpdates", "FeatureMatching", "HistoricalAveraging", "MinibatchDiscrimination",
                               "Tricks"),
    "scalegan.games.gan.settings": ("GAN",),
    "scalegan.games.table": ("Game",),
    "scalegan.games.unrolled.settings": ("Unrolled",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Imports a class on first use, so that a game's settings can import parts of the schema, which imports them in
    turn, and commands that need no schema start fast."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(_MODULE_OF[name]), name)
