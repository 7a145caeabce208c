"""What recipes need on 1 to 1,024 GPUs: memory, traffic, checkpoint bytes, loader images, hours.

Computed from the networks themselves, run on tensors without data (`scalegan/costs.py`); neither data nor a GPU is
needed. docs/scaling.md says what is counted, and how it was checked. `--table corpora` plans every recipe whose header
says what it is meant for, on just that.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scalegan import config
from scalegan import recipe as recipes
from scalegan.errors import RecipeError, UserError

if TYPE_CHECKING:
    from scalegan.costs import Costs, GrainCost, State

ENGINES = ("ddp", "zero1", "zero2")
PER_NODE = 8
_FP32 = 4
_BUCKET_BYTES = _FP32 * 2**24                           # that DeepSpeed sums together, see engines/deepspeed.py


@dataclass(frozen=True)
class Gpu:
    """Peaks of a GPU, from its maker's data sheet: without sparsity, traffic in one direction.

    Args:
        half, single: operations per second in bf16 or fp16, and of fp32 convolutions (TF32 where there is one).
        memory: bytes.
        node, network: bytes per second to GPUs of the same node, and of others.
        bf16: whether it computes bf16 natively.
    """

    half: float
    single: float
    memory: float
    node: float
    network: float
    bf16: bool = True


GPUS = {
    "v100-32": Gpu(125e12, 15.7e12, 32e9, 150e9, 12.5e9, bf16=False),
    "a100-80": Gpu(312e12, 156e12, 80e9, 300e9, 25e9),
    "h100-80": Gpu(989e12, 494e12, 80e9, 450e9, 50e9),
    "h200": Gpu(989e12, 494e12, 141e9, 450e9, 50e9),
}


@dataclass(frozen=True)
class Row:
    """A recipe on so many GPUs under one engine; bytes are those of one rank. Where `problem` is set the rest is 0.

    Args:
        grain: samples per forward.
        state_bytes: weights, buffers, moving average, optimizer state (and, with ZeRO, fp32 master weights).
        grain_bytes: the most that a grain's forward and backward hold at once.
        exchange_bytes: gradients and vectors that are held beside them.
        memory_bytes: the most at once.
        traffic_bytes: sent per iteration (one update of every phase; lazy ones by their share).
        checkpoint_bytes: written per checkpoint.
        loader_images_per_second: that keep the GPU busy.
        flops_per_image: per real image taken, penalties and all.
        hours: for `total_images`.
    """

    recipe: str
    engine: str
    gpus: int
    problem: str = ""
    grain: int = 0
    state_bytes: int = 0
    grain_bytes: int = 0
    exchange_bytes: int = 0
    memory_bytes: int = 0
    traffic_bytes: int = 0
    checkpoint_bytes: int = 0
    loader_images_per_second: float = 0.0
    flops_per_image: float = 0.0
    hours: float = 0.0


def plan(name: str, recipe: config.Recipe, costs: "Costs", engine: str, ranks: int, gpu: Gpu, mfu: float) -> Row:
    """One row of the plan."""
    try:
        grain = recipes.check_world(recipe, ranks)
    except RecipeError as error:
        return Row(name, engine, ranks, problem=str(error))
    share = recipe.batch_size // ranks
    grains = share // grain
    state = costs.state
    memory, flops, sent, images = [], 0.0, 0.0, 0
    for phase in costs.game.phases:
        cost = costs.grain(phase, grain)
        exchanged = exchange(cost, engine, ranks, grains)
        memory.append((max(cost.peak_bytes + exchanged.beside_grain, exchanged.after), cost.peak_bytes, exchanged))
        times = phase.updates / phase.every
        flops += times * grains * cost.flops
        sent += times * traffic(cost, engine, ranks, grains, recipe.engine.reduction)
        images += phase.updates * recipe.batch_size * phase.fresh_batch
    most, peak, exchanged = max(memory, key=lambda entry: entry[0])
    held = held_bytes(state, engine, ranks)
    batch = share * math.prod(costs.task.shape) * _FP32
    speed = (gpu.single if costs.precision == "fp32" else gpu.half) * mfu
    seconds = flops / speed + sent / (gpu.node if ranks <= PER_NODE else gpu.network)
    return Row(name, engine, ranks, "", grain, held, peak, most - peak, held + batch + most, round(sent),
               math.ceil(state.checkpoint / ranks), images / ranks / seconds, flops * ranks / images,
               recipe.total_images / images * seconds / 3600)


@dataclass(frozen=True)
class Exchange:
    """Bytes of gradients and vectors that a phase holds: beside a grain that runs, and after the last one."""

    beside_grain: int
    after: int


def exchange(cost: "GrainCost", engine: str, ranks: int, grains: int) -> Exchange:
    """What the engines hold of gradients, as `scalegan/engines` has them."""
    gradients = cost.gradients * _FP32
    if engine == "ddp":
        if ranks == grains == 1:
            return Exchange(0, 0)
        vector = gradients + cost.others * _FP32
        waiting = (grains - 1).bit_length()             # partial sums of the tree, beside the last grain's gradients
        return Exchange(waiting * vector + (gradients if grains > 1 else 0), 3 * vector)
    part, bucket = -(-gradients // ranks), min(gradients, _BUCKET_BYTES)    # an upper bound: DeepSpeed frees early
    kept = gradients if engine == "zero1" else part
    after = kept + bucket + 2 * part if engine == "zero1" else kept + 3 * bucket
    return Exchange(kept + bucket if grains > 1 else 0, after)


def traffic(cost: "GrainCost", engine: str, ranks: int, grains: int, reduction: str) -> float:
    """Bytes that a rank sends for an update: by ring algorithms, or by the tree's exchange of whole vectors."""
    ring = (ranks - 1) / ranks
    gradients, others = cost.gradients * _FP32, cost.others * _FP32
    if engine == "ddp":
        return (math.log2(ranks) if reduction == "tree" else 2 * ring) * (gradients + others)
    sums = grains if engine == "zero2" else 1           # stage 2 keeps no whole gradients, and so sums each grain's
    return ring * (2 * sums * gradients + 2 * others + gradients)   # the weights come back after the step


def held_bytes(state: "State", engine: str, ranks: int) -> int:
    """What a rank holds all the time."""
    whole = state.weights + state.buffers + state.ema
    if engine == "ddp":
        return whole + state.optimizer
    return whole + -(-(state.optimizer + 2 * state.weights) // ranks)   # beside moments: master weights, gradients


def meant_for(name: str) -> int | None:
    """GPUs that a recipe's header says it is meant for, as in "2 nodes of 8 GPUs"; None where it does not."""
    header = "".join(line for line in recipes.find(name).read_text().splitlines(True) if line.startswith("#"))
    found = re.search(r"(\d+) nodes? of (\d+) GPUs?", header)
    return int(found[1]) * int(found[2]) if found else None


def rows_of(name: str, overrides: list[str], gpu: Gpu, options: argparse.Namespace,
            measured: dict[str, "Costs"]) -> Iterator[Row]:
    """The rows of one recipe; costs that recipes share are measured once."""
    from scalegan.costs import Costs

    recipe = recipes.load([f"recipe={name}", *overrides])
    precision = recipe.precision if recipe.precision != "auto" else "bf16" if gpu.bf16 else "fp32"
    classes = options.classes or (40 if recipe.data.labels == "attributes" else 10)
    gpus = [meant_for(name)] if options.table else options.gpus
    engines = [e for e in ENGINES if recipe.engine.reduction == "fast" or e == "ddp"]
    key = repr((recipe.model, recipe.game, recipe.optimizer, recipe.engine, recipe.data.resolution, recipe.data.labels,
                recipe.data.backend, recipe.data.path.startswith("embedded:"), precision, classes))
    costs = measured.setdefault(key, measured.get(key) or Costs(recipe, classes, precision))
    for ranks in gpus:
        for engine in engines[:1] if options.table else engines:
            yield plan(name, recipe, costs, engine, ranks, gpu, options.mfu)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scalegan plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="RECIPE | key=value",
                        help="recipes to plan (default: all), and keys that are laid upon each")
    parser.add_argument("--gpus", type=_counts, default=[1, 8, 64, 256, 1024], metavar="N,N,...",
                        help="numbers of GPUs (default: 1,8,64,256,1024)")
    parser.add_argument("--gpu", choices=GPUS, default="h200", help="kind of GPU (default: h200)")
    parser.add_argument("--mfu", type=float, default=0.1, metavar="SHARE", help="share of the GPU's peak that training "
                        "reaches (default: 0.1; see docs/scaling.md)")
    parser.add_argument("--classes", type=int, metavar="N", help="classes or attributes of conditional recipes' data "
                        "(default: 10, or 40 attributes)")
    parser.add_argument("--table", choices=["corpora"], help="recipes for the full corpora, on what they are meant for")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not 0 < options.mfu <= 1:
        raise UserError(f"--mfu {options.mfu}: a share of the peak lies between 0 and 1")
    overrides = [word for word in options.words if "=" in word]
    names = [word for word in options.words if "=" not in word] or list(recipes.available())
    if options.table:
        names = [name for name in names if meant_for(name)]
    rows, measured = [], {}
    for name in names:
        if sys.stderr.isatty():
            print(f"measuring {name} ...", file=sys.stderr)
        rows += rows_of(name, overrides, GPUS[options.gpu], options, measured)
    if options.json:
        print(json.dumps({"gpu": options.gpu, "mfu": options.mfu, "rows": [asdict(row) for row in rows]}))
    else:
        _show(rows, options)
    return 0


def _show(rows: list[Row], options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{options.gpu}, {options.mfu:.0%} of its peak; memory, traffic, checkpoint: MB per rank",
                  caption="memory: state + the larger of a grain with what stands beside it, and the exchange; "
                          "traffic: per iteration; images/s: that a rank's loader must deliver")
    for column in ("recipe", "GPUs", "engine", "grain", "state", "grain MB", "memory", "traffic", "checkpoint",
                   "images/s", "GFLOP/image", "hours"):
        table.add_column(column, justify="left" if column in ("recipe", "engine") else "right")
    refused: dict[tuple[str, str], None] = {}
    for row in rows:
        if row.problem:
            refused[row.recipe, row.problem] = None
            continue
        megabytes = [f"{value / 1e6:,.0f}" for value in (row.state_bytes, row.grain_bytes, row.memory_bytes,
                                                         row.traffic_bytes, row.checkpoint_bytes)]
        over = "!" if row.memory_bytes > GPUS[options.gpu].memory else ""
        megabytes[2] += over
        table.add_row(row.recipe, str(row.gpus), row.engine, str(row.grain), *megabytes,
                      f"{row.loader_images_per_second:,.0f}", f"{row.flops_per_image / 1e9:,.1f}", f"{row.hours:,.1f}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for name, problem in refused:
        console.print(f"{name}: {problem}", highlight=False)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,8,64")
    return counts
