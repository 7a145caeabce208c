"""Makes the engine that a recipe or its launcher names."""

import os
from collections.abc import Mapping
from dataclasses import replace

import torch

from scalegan import config
from scalegan.engines.base import Engine
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.graphs import Graphs
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Game


def apply_launcher_choice(settings: config.Engine) -> config.Engine:
    """The recipe's choice, or that of `accelerate launch --use_fsdp` or `--use_deepspeed [--zero_stage N]`.

    Raises:
        RecipeError: for a stage or reduction that is not supported with FSDP or DeepSpeed, or a compiler that the
            recipe does not ask for.
    """
    _check_compiler(settings)
    if os.environ.pop("ACCELERATE_USE_FSDP", "").lower() == "true":     # removed for the same reason
        if settings.name == "deepspeed":
            raise RecipeError("accelerate launch --use_fsdp contradicts engine.name=deepspeed; leave one of them out")
        _check_reduction(settings, "--use_fsdp")
        return replace(settings, name="fsdp")
    # Removed, or Accelerate would initialise DeepSpeed itself.
    if os.environ.pop("ACCELERATE_USE_DEEPSPEED", "").lower() != "true" or settings.name == "deepspeed":
        return settings
    stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))
    if stage not in (0, 1, 2, 3):
        raise RecipeError(f"accelerate launch --zero_stage={stage}: there is no such stage; use 0, 1, 2 or 3")
    if settings.name == "fsdp":
        raise RecipeError("accelerate launch --use_deepspeed contradicts engine.name=fsdp; leave one of them out")
    _check_reduction(settings, "--use_deepspeed")
    return replace(settings, name="deepspeed", zero_stage=stage)


def _check_reduction(settings: config.Engine, flag: str) -> None:
    if settings.reduction != "fast":
        raise RecipeError(f"accelerate launch {flag}: engine.reduction=tree works with engine.name=ddp only; set "
                          "engine.reduction=fast")


def precision_asked(precision: str) -> str:
    """The recipe's precision, or that of `accelerate launch --mixed_precision`. `no` leaves it to the recipe, as
    Accelerate passes that on even if nothing was given.

    Raises:
        RecipeError: if the two contradict each other.
    """
    wish = os.environ.get("ACCELERATE_MIXED_PRECISION", "").strip().lower()
    if wish in ("", "no", "none", precision):
        return precision
    if precision == "auto" and wish in ("bf16", "fp16"):
        return wish
    remedy = f"give precision={wish}" if wish in ("bf16", "fp16") else "ScaleGAN trains in fp32, bf16 or fp16: give one"
    raise RecipeError(f"accelerate launch --mixed_precision={wish} contradicts precision={precision}; {remedy}, or "
                      "start without --mixed_precision (or with --mixed_precision=no, if it is in Accelerate's own "
                      "configuration)")


def _check_compiler(settings: config.Engine) -> None:
    """Raises RecipeError if `accelerate launch --dynamo_backend` contradicts engine.compile; `no` never does."""
    for variable in ("ACCELERATE_DYNAMO_BACKEND", "DYNAMO_BACKEND"):
        wish = os.environ.get(variable, "").strip().lower()
        if wish in ("", "no", "none") or (wish == "inductor" and settings.compile):
            continue
        remedy = "give engine.compile=true" if wish == "inductor" else "networks are compiled by inductor only"
        raise RecipeError(f"accelerate launch --dynamo_backend={wish} contradicts "
                          f"engine.compile={str(settings.compile).lower()}; {remedy}, or start without "
                          "--dynamo_backend (or with --dynamo_backend=no)")


def check(settings: config.Engine, game: Game, device: torch.device) -> None:
    """Raises RecipeError if the engine cannot train this game, or on this device."""
    if settings.name == "ddp":
        return
    if device.type == "mps":
        raise RecipeError(f"engine.name={settings.name} does not run on a Mac's GPU; use engine.name=ddp")
    if settings.name == "fsdp":
        return
    if not all(parameter.requires_grad for player in game.players.values() for parameter in player.parameters()):
        raise RecipeError("freeze does not work with engine.name=deepspeed, whose partitions hold all of a player's "
                          "weights; leave out freeze, or train with engine.name=fsdp or ddp")
    whole = sorted(name for name, player in game.players.items()
                   if name not in game.by_forward and any(True for _ in player.parameters()))
    if settings.zero_stage == 3 and whole:
        raise RecipeError(f"engine.zero_stage=3 does not train {' and '.join(whole)} in this game: DeepSpeed has a "
                          "layer's weights only around its forward and backward pass, and exact gradient penalties, or "
                          "phases that use parts of a network, need them longer. Set method=finite_difference in "
                          "game.penalties, or engine.name=fsdp, which trains every game")


def make(settings: config.Engine, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks,
         micro_batch: int, precision: str) -> Engine:
    """Makes the engine for these settings; the other arguments are `Engine`'s.

    Raises:
        UserError: if deepspeed is requested but not installed, and as `check`.
    """
    check(settings, game, ranks.device)
    if settings.name == "ddp":
        graphs = Graphs() if settings.cuda_graphs and ranks.device.type == "cuda" else None
        return DDPEngine(game, optimizers, ranks, micro_batch, precision, settings.reduction == "tree", graphs)
    if settings.name == "fsdp":
        from scalegan.engines.fsdp import FSDPEngine

        return FSDPEngine(game, optimizers, ranks, micro_batch, precision)
    if settings.zero_stage == 3:
        from scalegan.engines.zero3 import Zero3Engine

        return Zero3Engine(game, optimizers, ranks, micro_batch, precision)
    from scalegan.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(game, optimizers, ranks, micro_batch, precision, settings.zero_stage)
