"""The engine that a recipe names, or its launcher."""

import os
from collections.abc import Mapping
from dataclasses import replace

import torch

from scalegan import config
from scalegan.engines.base import Engine
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Game


def asked_of_launcher(settings: config.Engine) -> config.Engine:
    """The recipe's choice, or DeepSpeed under `accelerate launch --use_deepspeed [--zero_stage N]`.

    Raises:
        RecipeError: for a stage, or a reduction, that DeepSpeed does not have here.
    """
    # Accelerate would bring DeepSpeed up by itself, in its own way: it is not to see this.
    if os.environ.pop("ACCELERATE_USE_DEEPSPEED", "").lower() != "true" or settings.name == "deepspeed":
        return settings
    stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))
    if stage not in (0, 1, 2):
        raise RecipeError(f"accelerate launch --zero_stage={stage}: gradient penalties fail with it, or are silently "
                          "wrong; use 0, 1 or 2")
    if settings.reduction != "fast":
        raise RecipeError("accelerate launch --use_deepspeed: engine.reduction=tree is for engine.name=ddp")
    return replace(settings, name="deepspeed", zero_stage=stage)


def make(settings: config.Engine, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks,
         micro_batch: int, precision: str) -> Engine:
    """The engine of these settings; the arguments are `Engine`'s.

    Raises:
        UserError: where deepspeed is asked for and not installed.
    """
    if settings.name == "ddp":
        return DDPEngine(game, optimizers, ranks, micro_batch, precision, settings.reduction == "tree")
    from scalegan.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(game, optimizers, ranks, micro_batch, precision, settings.zero_stage)
