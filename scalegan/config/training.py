"""Optimizers, averages, engines, checkpoints and health."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from scalegan.config.schedule import Schedule
from scalegan.config.schema import Beta, RelativeLength, typed


@typed
class Optimizer:
    name: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """Update rule; adamw is Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""
    lr: PositiveFloat | Schedule = 2e-4
    """Learning rate."""
    betas: tuple[Beta | Schedule, Beta | Schedule] = (0.5, 0.999)
    """Adam's decay rates."""
    eps: PositiveFloat = 1e-8
    """Adam's epsilon."""
    weight_decay: NonNegativeFloat = 0.0
    """Multiple of the weights that is added to their gradients: an L2 penalty. With adamw, each step instead shrinks
    the weights by lr times this."""
    momentum: Beta | Schedule = 0.0
    """SGD's momentum."""
    clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient of all the player's weights, over the whole batch; a longer one is shortened to it.
    null for no bound."""


@typed
class Ema:
    half_life_images: NonNegativeInt | Schedule = 10_000
    """Half-life of the generator's moving average, in images; 0 disables averaging."""
    ramp_up: NonNegativeFloat | None = 0.05
    """Upper bound on the half-life, as a fraction of the images seen; null for no bound."""


@typed
class PowerEma:
    """EDM2's moving averages, whose length is a fraction of the run so far; `scalegan export --ema-sigma-rel`
    reconstructs others from them after training (Karras et al., 2024)."""

    sigma_rel: tuple[RelativeLength, RelativeLength] = (0.05, 0.1)
    """Lengths of the two averages: the standard deviation of the averaging weights in time, relative to the run's
    length."""
    every_images: PositiveInt
    """Images between snapshots of them in the run's averages/; some twenty per run are enough."""


@typed
class Engine:
    name: Literal["ddp", "deepspeed", "fsdp"] = "ddp"
    """How ranks train together: ddp replicates everything; deepspeed uses ZeRO (extra [deepspeed]); fsdp partitions
    everything, for networks that one GPU cannot hold."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """With engine.name=deepspeed. 1 partitions the optimizers' state among ranks; 2 the gradients too; 3 also the
    weights, in games without exact penalties; 0 nothing."""
    reduction: Literal["fast", "tree"] = "fast"
    """fast: all-reduce. tree: a fixed binary tree of micro-batches, which gives the same bits on 1, 2, 4, ... ranks."""
    threads: NonNegativeInt = 0
    """CPU threads per rank; 0 leaves the choice to the launcher. A different number gives different bits."""
    deterministic: bool = True
    """Use deterministic kernels on CUDA (needed for bit-identical runs there)."""
    tf32: bool = False
    """Round what fp32 convolutions and matrix products multiply to TF32 (10 of 23 bits of mantissa) on CUDA: several
    times faster. Concerns precision=fp32, and the layers that networks keep in fp32 otherwise."""
    compile: bool = False
    """Compile the networks (torch.compile), exact gradient penalties included. Gives different bits."""
    cuda_graphs: bool = False
    """Record each phase's forward and backward pass as a CUDA graph, for small models whose kernels take less time than
    launching them: the same bits, and more memory. Phases that cannot be recorded run as usual."""
    activation_checkpointing: bool = False
    """Recompute the blocks' activations in the backward instead of keeping them: a third more arithmetic, the same
    bits. Exact penalties keep their activations, and compiled passes choose for themselves."""


@typed
class Checkpoint:
    every_images: NonNegativeInt = 0
    """Images between checkpoints; a final one is always written."""
    keep: Annotated[int, Field(ge=2)] = 2
    """Number of newest checkpoints to keep, at least two."""


@typed
class Health:
    rollback_after: NonNegativeInt = 20
    """Consecutive updates of a phase that may be skipped because a loss or gradient was not finite; then the run rolls
    back to the last good checkpoint and continues with different draws. 0 means never."""
    max_rollbacks: NonNegativeInt = 3
    """Rollbacks allowed in the whole run; one more ends it with exit code 3."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor by which each rollback multiplies all learning rates."""
