"""The summary that a run prints when it starts."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from scalegan.config import Recipe
from scalegan.data.opening import Source
from scalegan.data.pixels import showing
from scalegan.data.reading.order import Endless
from scalegan.data.spec import Spec
from scalegan.engines.graphs import recordable
from scalegan.training.run import Run


def introduction(run: Run, sources: Mapping[str, Source]) -> list[str]:
    """Folder, data, players, device, batch, length, how to watch, and perhaps a hint: a line each."""
    recipe = run.recipe
    data = [("data" if number == 0 else f"data {name}", _data(source))
            for number, (name, source) in enumerate(sources.items())]
    return [f"{what:<10} {value}" for what, value in (
        ("run", str(run.folder.resolve())), *data, ("players", _players(run)), ("device", _device(run)),
        ("batch", _batch(run)), ("length", _length(recipe)), ("watch", _watch(recipe, run.folder)),
        ("hint", _hint(run))) if value]


def _data(source: Source) -> str:
    spec, order = source.spec, source.records.order
    count = "endless" if isinstance(order, Endless) else f"{order.records:,}"
    mirrored = ", randomly mirrored" * source.settings.flip
    text = f"{source.settings.path}: {count} {_samples(spec)}{_labels(spec)}{mirrored}"
    return "; ".join([text, *source.records.reader.remarks])


def _samples(spec: Spec) -> str:
    sides = spec.shape[1:] or spec.shape
    size = " x ".join(map(str, reversed(sides) if spec.kind == "image" else sides))     # width before height
    if spec.latents is not None:
        channels, height, width = spec.latents.image
        return f"latents of {spec.shape[0]} x {size}, of images of {width} x {height} px"
    if spec.kind != "image":
        return f"{spec.kind}s of {size}" if spec.kind != "points" else f"points in {size} dimensions"
    channels = spec.shape[0]
    colour = {1: ", grey", 3: ""}.get(channels, f", {channels} channels")
    if spec.alpha:
        colour = f", {'grey' if channels == 2 else 'colour'} with alpha"
    seen = f" (pictures show {showing(channels)})" if showing(channels) else ""
    return f"images of {size} px{colour}{', 16 bits' * (spec.depth == 16)}{seen}"


def _labels(spec: Spec) -> str:
    if spec.classes:
        return f", {spec.classes} classes"
    if spec.vector_dim:
        return f", described by vectors of {spec.vector_dim:,}"
    return f", {spec.attributes} attributes" if spec.attributes else ", no labels"


def _players(run: Run) -> str:
    def counted(player: nn.Module) -> str:
        frozen = sum(p.numel() for p in player.parameters() if not p.requires_grad)
        text = f"{_count(sum(p.numel() for p in player.parameters()))} parameters"
        return f"{text} ({_count(frozen)} frozen)" if frozen else text

    return ", ".join(f"{name} {counted(player)}" for name, player in run.game.players.items())


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.1f} k" if number >= 1e3 else str(number)


def _device(run: Run) -> str:
    records = run.constants["environment"]
    name = records["device"]
    if run.ranks.device.type == "cpu":
        threads = records["threads_per_rank"]
        name += f", {threads} thread{'s' * (threads != '1')}"
    ranks = f"{run.ranks.world_size} ranks of {name}" if run.ranks.world_size > 1 else name
    compiled = ", compiled" if run.recipe.engine.compile else ""
    return f"{ranks}, {run.engine.precision}, {records['engine']}{compiled}"


def _batch(run: Run) -> str:
    size, world = run.engine.micro_batch, run.ranks.world_size
    count = run.recipe.batch_size // world // size
    parts = f"{count} micro-batch{'es' * (count > 1)} of {size}"
    return f"{run.recipe.batch_size} samples: {parts}{f' on each of {world} ranks' * (world > 1)}"


def _length(recipe: Recipe) -> str:
    every = [(recipe.snapshot.every_images, "a picture"), (recipe.checkpoint.every_images, "a checkpoint"),
             (recipe.eval.every_images, "an evaluation")]
    return ", ".join([f"{recipe.total_images:,} images",
                      *(f"{what} every {images:,}" for images, what in every if images)])


def _watch(recipe: Recipe, folder: Path) -> str:
    shown = recipe.log.tensorboard and "tensorboard" in recipe.log.trackers
    board = f"tensorboard --logdir {folder}" if shown else f"{folder / 'metrics.jsonl'}"
    return f"{board}; pictures in {folder / 'samples'}" if recipe.snapshot.every_images else board


def _hint(run: Run) -> str:
    """What would probably make the run faster without changing its bits."""
    engine = run.recipe.engine
    if run.ranks.device.type != "cuda" or engine.name != "ddp" or engine.cuda_graphs or not recordable(run.game):
        return ""
    return "engine.cuda_graphs=true gives the same bits, faster if the GPU waits for the host; it needs more memory"
