"""What a recipe needs on a given number of GPUs: memory, traffic, checkpoint bytes, loaded images/s, hours.

Computed from the costs that `costs` measures; docs/scaling.md says what is counted and how it was checked.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalegan import config
from scalegan.config.ranks import check_world
from scalegan.errors import RecipeError
from scalegan.training.sharded_sizes import bytes_of, part_bytes, while_gathering

if TYPE_CHECKING:
    from scalegan.games.base import Phase
    from scalegan.training.costs import Costs, MicroBatchCost, State

ENGINES = ("ddp", "zero1", "zero2", "zero3", "fsdp")
PER_NODE = 8
_FP32 = 4
_BUCKET = 2**24         # elements that DeepSpeed reduces at once, see engines/deepspeed.py
_LIVE = 10**9           # of each player that it keeps whole at most in stage 3, its default


@dataclass(frozen=True)
class Gpu:
    """Peak values of a GPU from its data sheet: without sparsity, traffic in one direction.

    Args:
        half_flops, fp32_flops, tf32_flops: peak FLOP/s in bf16 or fp16, in fp32, and in TF32.
        memory: bytes.
        node, network: bytes per second to GPUs of the same node, and of other nodes.
        bf16: whether it computes bf16 natively.
        update_seconds: what an update takes besides.
    """

    half_flops: float
    fp32_flops: float
    tf32_flops: float
    memory: float
    node: float
    network: float
    bf16: bool = True
    update_seconds: float = 0.0


GPUS = {
    "v100-32": Gpu(125e12, 15.7e12, 15.7e12, 32e9, 150e9, 12.5e9, bf16=False),
    "a100-80": Gpu(312e12, 19.5e12, 156e12, 80e9, 300e9, 25e9),
    "h100-80": Gpu(989e12, 67e12, 494e12, 80e9, 450e9, 50e9),
    "h200": Gpu(989e12, 67e12, 494e12, 141e9, 450e9, 50e9),
}
# A core of an AMD EPYC (AVX-512 with bf16) as measured, not its peak: DCGAN and InfoGAN on the digits, and the 2-D toy.
CORE = Gpu(40e9, 40e9, 40e9, math.inf, math.inf, math.inf, update_seconds=2e-3)
SMALL_HOURS = 2     # on a core; the kernels of smaller recipes are too short for a GPU, which waits for their launch


@dataclass(frozen=True)
class Row:
    """A recipe on a number of GPUs under one engine; bytes are per rank. If `problem` is set, the rest is 0.

    Args:
        micro_batch: samples per forward.
        state_bytes: weights, buffers, moving average, optimizer state (and, with ZeRO, fp32 master weights), or this
            rank's part of them.
        micro_batch_bytes: peak of a micro-batch's forward and backward.
        exchange_bytes: gradients and reduction vectors held at the same time; with FSDP also whole weights.
        memory_bytes: peak of everything together.
        traffic_bytes: sent per iteration (one update of every phase; lazy ones by their share).
        checkpoint_bytes: written per checkpoint.
        loader_images_per_second: rate that keeps the GPU busy.
        flops_per_image: per real image taken, including penalties.
        hours: for `total_images`.
    """

    recipe: str
    engine: str
    gpus: int
    problem: str = ""
    micro_batch: int = 0
    state_bytes: int = 0
    micro_batch_bytes: int = 0
    exchange_bytes: int = 0
    memory_bytes: int = 0
    traffic_bytes: int = 0
    checkpoint_bytes: int = 0
    loader_images_per_second: float = 0.0
    flops_per_image: float = 0.0
    hours: float = 0.0


def plan(name: str, recipe: config.Recipe, costs: "Costs", engine: str, ranks: int, gpu: Gpu, mfu: float) -> Row:
    """Computes one row of the plan."""
    try:
        micro_batch = check_world(recipe, ranks)
    except RecipeError as error:
        return Row(name, engine, ranks, problem=str(error))
    share = recipe.batch_size // ranks
    micro_batches = share // micro_batch
    state = costs.state
    memory, flops, sent, updates, images = [], 0.0, 0.0, 0.0, 0
    for phase in costs.game.phases:
        cost = costs.micro_batch(phase, micro_batch)
        memory.append((peak(cost, state, engine, ranks, micro_batches), cost.peak_bytes))
        made = phase.updates * _share(phase, recipe.total_images)
        times = made * phase.main_updates / phase.every
        updates += times
        flops += times * micro_batches * cost.flops
        sent += times * traffic(cost, engine, ranks, micro_batches, recipe.engine.reduction)
        images += made * recipe.batch_size * phase.fresh_batch
    memory.append((while_sampling(state, engine, ranks), 0))
    most, of_micro_batch = max(memory)
    held = held_bytes(state, engine, ranks)
    batch = share * costs.sample_elements * _FP32
    single = gpu.tf32_flops if recipe.engine.tf32 else gpu.fp32_flops
    speed = (single if costs.precision == "fp32" else gpu.half_flops) * mfu
    seconds = flops / speed + sent / (gpu.node if ranks <= PER_NODE else gpu.network) + updates * gpu.update_seconds
    return Row(name, engine, ranks, "", micro_batch, held, of_micro_batch, max(0, most - of_micro_batch),
               held + batch + most, round(sent), math.ceil(state.checkpoint / ranks), images / ranks / seconds,
               flops * ranks / images, recipe.total_images / images * seconds / 3600)


def on_a_core(name: str, recipe: config.Recipe, costs: "Costs") -> Row | None:
    """The row of one CPU core for a recipe that takes it at most `SMALL_HOURS`; None for any other."""
    row = plan(name, recipe, costs, "ddp", 1, CORE, 1.0)
    return None if row.problem or row.hours > SMALL_HOURS else row


@dataclass(frozen=True)
class Exchange:
    """Bytes of gradients and vectors that a phase holds while a micro-batch runs, and after the last one."""

    during_micro_batch: int
    after: int


def _share(phase: "Phase", total_images: int) -> float:
    """The fraction of a run during which a phase is active."""
    start, end = phase.between
    return max(0, min(total_images if end is None else end, total_images) - start) / total_images


def engines_of(recipe: config.Recipe, costs: "Costs") -> list[str]:
    """The engines that play a recipe's game."""
    if recipe.engine.reduction != "fast":
        return ["ddp"]
    players = costs.game.players.items()
    others = {name for name, player in players if any(True for _ in player.parameters())} - costs.game.by_forward
    tricks, refused = getattr(recipe.game, "tricks", None), {"zero3"} if others else set()
    if tricks is not None and tricks.historical_averaging is not None:      # which keeps copies of whole weights
        refused |= {"zero3", "fsdp"}
    if recipe.freeze:       # DeepSpeed's partitions hold all of a player's weights
        refused |= {"zero1", "zero2", "zero3"}
    return [engine for engine in ENGINES if engine not in refused]


def peak(cost: "MicroBatchCost", state: "State", engine: str, ranks: int, micro_batches: int) -> int:
    """Most bytes alive in a phase, besides what a rank holds throughout and the batch."""
    if engine == "fsdp":
        return cost.sharded.peak(ranks, micro_batches)
    if engine == "zero3":   # an upper bound: DeepSpeed frees weights that it will not need soon
        needed = sum(bytes_of(cost.sharded.units[unit]) for unit in cost.sharded.differentiated)
        return cost.peak_bytes + min(needed, _FP32 * _LIVE * len(state.players))
    exchanged = exchange(cost, engine, ranks, micro_batches)
    return max(cost.peak_bytes + exchanged.during_micro_batch, exchanged.after)


def while_sampling(state: "State", engine: str, ranks: int) -> int:
    """Bytes of the averages, which snapshots and evaluations gather if each rank holds a part of them only."""
    return while_gathering(state.averaged, ranks) if engine in ("fsdp", "zero3") else 0


def exchange(cost: "MicroBatchCost", engine: str, ranks: int, micro_batches: int) -> Exchange:
    """Bytes that an engine in `scalegan/engines` holds for gradients."""
    gradients = cost.gradients * _FP32
    if engine == "ddp":
        if ranks == micro_batches == 1:
            return Exchange(0, 0)
        vector = gradients + cost.others * _FP32
        waiting = (micro_batches - 1).bit_length()  # partial sums of the tree, besides the last gradients
        return Exchange(waiting * vector + (gradients if micro_batches > 1 else 0), 3 * vector)
    part, bucket = -(-gradients // ranks), min(gradients, _FP32 * _BUCKET)    # an upper bound: DeepSpeed frees early
    kept = gradients if engine == "zero1" else part
    after = kept + bucket + 2 * part if engine == "zero1" else kept + 3 * bucket
    return Exchange(kept + bucket if micro_batches > 1 else 0, after)


def traffic(cost: "MicroBatchCost", engine: str, ranks: int, micro_batches: int, reduction: str) -> float:
    """Bytes that a rank sends per update, by ring algorithms or by the tree's exchange of whole vectors."""
    ring = (ranks - 1) / ranks
    if engine in ("fsdp", "zero3"):
        weights = cost.sharded.traffic(ranks, micro_batches, padded=engine == "fsdp")
        return weights + 2 * ring * cost.others * _FP32
    gradients, others = cost.gradients * _FP32, cost.others * _FP32
    if engine == "ddp":
        return (math.log2(ranks) if reduction == "tree" else 2 * ring) * (gradients + others)
    sums = micro_batches if engine == "zero2" else 1    # stage 2 keeps no whole gradients: it sums each time
    return ring * (2 * sums * gradients + 2 * others + gradients)   # weights are gathered after the step


def held_bytes(state: "State", engine: str, ranks: int) -> int:
    """Bytes that a rank holds throughout a run."""
    whole = state.weights + state.buffers + state.ema
    if engine == "ddp":
        return whole + state.optimizer
    if engine == "fsdp":
        return whole + state.optimizer - bytes_of(state.tensors) + part_bytes(state.tensors, ranks)
    if engine == "zero3":   # besides: master weights, gradients, and two buffers of a bucket, one in half precision
        divided = bytes_of(state.tensors) + 2 * state.weights
        buffers = sum(6 * min(player, _BUCKET) for player in state.players)
        return whole + state.optimizer - bytes_of(state.tensors) + -(-divided // ranks) + buffers
    return whole + -(-(state.optimizer + 2 * state.weights) // ranks)   # besides moments: master weights, gradients
