"""Optimizers, averages, engines, checkpoints and health."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from scalegan.config.schedule import Schedule
from scalegan.config.schema import Beta, RelativeLength, typed


@typed
class Optimizer:
    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Update rule."""
    lr: PositiveFloat | Schedule = 2e-4
    """Learning rate."""
    betas: tuple[Beta | Schedule, Beta | Schedule] = (0.5, 0.999)
    """Adam's decay rates."""
    eps: PositiveFloat = 1e-8
    """Adam's epsilon."""


@typed
class Ema:
    half_life_images: NonNegativeInt | Schedule = 10_000
    """Half-life of the generator's moving average, in images; 0 keeps the weights as they are."""
    ramp_up: NonNegativeFloat | None = 0.05
    """The half-life is at most this fraction of the images seen; null for none."""


@typed
class PowerEma:
    """EDM2's moving averages whose length is a share of the run so far; with `scalegan export --ema-sigma-rel` others
    are made of them after training (Karras et al., 2024)."""

    sigma_rel: tuple[RelativeLength, RelativeLength] = (0.05, 0.1)
    """Their two lengths: the standard deviation of the weights' density in time, relative to the run's."""
    every_images: PositiveInt
    """Images between two snapshots of them in the run's averages/; some twenty in a run do."""


@typed
class Engine:
    name: Literal["ddp", "deepspeed"] = "ddp"
    """How ranks train together: each with everything, or with DeepSpeed's ZeRO (extra [deepspeed])."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """Of engine.name=deepspeed. 1: each rank keeps its part of the optimizers' state; 2: of the gradients too; 0: all
    keep everything. 3, which cuts up the weights, is refused: penalties fail there."""
    reduction: Literal["fast", "tree"] = "fast"
    """fast: all-reduce. tree: a fixed binary tree of micro-batches, which gives the same bits on 1, 2, 4, ... ranks."""
    threads: NonNegativeInt = 0
    """CPU threads per rank; 0 leaves the choice to the launcher. Another number gives other bits."""
    deterministic: bool = True
    """Use deterministic kernels on CUDA (needed for bit-identical runs there)."""
    compile: bool = False
    """Run the networks as compiled code (torch.compile) in passes without penalties. Gives other bits than without."""
    activation_checkpointing: bool = False
    """Compute the blocks' activations again in the backward, instead of keeping them: a third more arithmetic, the same
    bits. Penalties keep theirs, and compiled passes choose for themselves."""


@typed
class Checkpoint:
    every_images: NonNegativeInt = 0
    """Images between checkpoints; a final one is always written."""
    keep: Annotated[int, Field(ge=2)] = 2
    """Checkpoints kept, the newest ones; at least two."""


@typed
class Health:
    rollback_after: NonNegativeInt = 20
    """Updates of a phase that may be skipped in a row because a loss or gradient was not finite; then the run goes back
    to the last good checkpoint, and on with other draws. 0 means never."""
    max_rollbacks: NonNegativeInt = 3
    """Rollbacks in the whole run; the next ends it with exit code 3."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Multiplies all learning rates at each rollback."""
