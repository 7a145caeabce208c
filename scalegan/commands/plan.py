"""Estimates what recipes need on 1 to 1,024 GPUs: memory, traffic, checkpoint size, loader throughput, hours; and how
long those take that are small enough for a CPU core.

Computed by running the recipe's networks on the meta device; neither data nor a GPU is needed. docs/scaling.md
says what is counted and how it was checked. `--table corpora` plans every recipe whose header names a number of GPUs,
on that number only.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from scalegan.config import catalogue
from scalegan.config.auto import Device
from scalegan.errors import UsageError
from scalegan.support.arguments import counts, finite, positive, verb_parser
from scalegan.training import automatic
from scalegan.training.plan import CORE, GPUS, Gpu, Row, engines_of, on_a_core, plan

if TYPE_CHECKING:
    from scalegan.training.costs import Costs


def recommended_gpus(name: str) -> int | None:
    """The number of GPUs that a recipe's header recommends, as in "2 nodes of 8 GPUs", or None."""
    header = "".join(line for line in catalogue.find(name).read_text().splitlines(True) if line.startswith("#"))
    found = re.search(r"(\d+) nodes? of (\d+) GPUs?", header)
    return int(found[1]) * int(found[2]) if found else None


def rows_of(name: str, overrides: list[str], gpu: Gpu, options: argparse.Namespace,
            measured: dict[str, "Costs"]) -> tuple[list[Row], Row | None]:
    """The rows of one recipe on GPUs, and on one CPU core if it is small enough for that; recipes with the same costs
    are measured once."""
    from scalegan.training.costs import Costs, specs_of

    recipe = automatic.load([f"recipe={name}", *overrides], device=Device("gpu", gpu.memory))
    precision = recipe.precision if recipe.precision != "auto" else "bf16" if gpu.bf16 else "fp32"
    classes = options.classes or (40 if recipe.data.labels == "attributes" else 10)
    gpus = [recommended_gpus(name)] if options.table else options.gpus
    specs = specs_of(recipe, classes)
    key = repr((recipe.model, recipe.game, recipe.optimizer, recipe.engine, recipe.data.resolution, recipe.streams,
                recipe.freeze, recipe.emas, recipe.power_ema, specs, precision))
    costs = measured.setdefault(key, measured.get(key) or Costs(recipe, specs, precision))
    engines = ["ddp"] if options.table else engines_of(recipe, costs)
    rows = [plan(name, recipe, costs, engine, ranks, gpu, options.mfu) for ranks in gpus for engine in engines]
    return rows, None if options.table else on_a_core(name, recipe, costs)


def main(arguments: list[str]) -> int:
    parser = verb_parser("plan", __doc__,
                         "plan lsun_bedroom_stylegan2",
                         "plan celeba_dcgan batch_size=512 --gpus 1,8,64 --gpu h100-80",
                         "plan auto data.path=photos --gpus 1,8")
    parser.add_argument("words", nargs="*", metavar="RECIPE | key=value",
                        help="recipes to plan (default: all), and overrides for each of them")
    parser.add_argument("--gpus", type=counts, metavar="N,N,...",
                        help="numbers of GPUs (default: 1,8,64,256,1024)")
    parser.add_argument("--gpu", choices=GPUS, default="h200", help="kind of GPU (default: h200)")
    parser.add_argument("--mfu", type=finite, default=0.1, metavar="SHARE", help="fraction of the GPU's peak that "
                        "training reaches (default: 0.1; see docs/scaling.md)")
    parser.add_argument("--classes", type=positive, metavar="N", help="number of classes or attributes for conditional "
                        "recipes (default: 10 classes or 40 attributes)")
    parser.add_argument("--table", choices=["corpora"], help="the recipes whose header recommends a number of "
                        "GPUs, on that number")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not 0 < options.mfu <= 1:
        raise UsageError(f"--mfu {options.mfu} is not a fraction of the peak; use a number above 0, at most 1")
    if options.table and options.gpus:
        raise UsageError("--table has the numbers of GPUs that recipes recommend; leave out --gpus")
    options.gpus = options.gpus or [1, 8, 64, 256, 1024]
    words = [word.removeprefix("recipe=") for word in options.words]
    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word] or list(catalogue.available())
    if options.table:
        names = [name for name in names if recommended_gpus(name)]
    rows, small, measured = [], [], {}
    for name in names:
        if sys.stderr.isatty():
            print(f"measuring {name} ...", file=sys.stderr)
        on_gpus, on_core = rows_of(name, overrides, GPUS[options.gpu], options, measured)
        small += [on_core] if on_core else []
        rows += on_gpus if options.json or not on_core else []
    if options.json:
        print(json.dumps({"gpu": options.gpu, "mfu": options.mfu, "rows": [asdict(row) for row in rows],
                          "one_core": [asdict(row) for row in small]}))
        return 0
    if rows:
        _show(rows, options)
    for row in small:
        print(_on_a_core(row))
    return 0


def _on_a_core(row: Row) -> str:
    """What a recipe needs that is too small for a GPU."""
    minutes = max(1, round(row.hours * 60))
    images = row.hours * 3600 * row.loader_images_per_second
    return f"{row.recipe}: about {minutes} minute{'s' * (minutes > 1)} on one CPU core ({images:,.0f} samples of " \
           f"{row.flops_per_image / 1e6:,.3g} MFLOP at {CORE.fp32_flops / 1e9:g} GFLOP/s), " \
           f"{row.checkpoint_bytes / 1e6:,.2g} MB a checkpoint; too small to keep a GPU busy"


def _show(rows: list[Row], options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{options.gpu}, {options.mfu:.0%} of its peak; memory, traffic, checkpoint: MB per rank",
                  caption="memory: state plus peak of a micro-batch with its gradients or of the gradient exchange, "
                          "whichever is larger (!: more than the GPU has), and weights that are whole for its time "
                          "(zero3, fsdp); traffic: per iteration; images/s: what a rank's loader must deliver")
    for column in ("recipe", "GPUs", "engine", "micro-batch", "state", "micro-batch MB", "memory", "traffic",
                   "checkpoint", "images/s", "GFLOP/image", "hours"):
        table.add_column(column, justify="left" if column in ("recipe", "engine") else "right")
    refused: dict[tuple[str, str], None] = {}
    for row in rows:
        if row.problem:
            refused[row.recipe, row.problem] = None
            continue
        megabytes = [f"{value / 1e6:,.0f}" for value in (row.state_bytes, row.micro_batch_bytes, row.memory_bytes,
                                                         row.traffic_bytes, row.checkpoint_bytes)]
        over = "!" if row.memory_bytes > GPUS[options.gpu].memory else ""
        megabytes[2] += over
        table.add_row(row.recipe, str(row.gpus), row.engine, str(row.micro_batch), *megabytes,
                      f"{row.loader_images_per_second:,.0f}", f"{row.flops_per_image / 1e9:,.1f}", _hours(row.hours))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for name, problem in refused:
        console.print(f"{name}: {problem}", highlight=False)


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 0.1 else "<0.1"
