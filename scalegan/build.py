"""From a recipe to the parts of a run."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan import config, networks, objectives, pictures
from scalegan.augment import Augment
from scalegan.augment.ada import Ada, Adaptive, Given
from scalegan.augment.diffaugment import DiffAugment
from scalegan.augment.instance_noise import InstanceNoise
from scalegan.data import embedded
from scalegan.data.cache import Remote, is_url
from scalegan.data.ffcv_chunks import FfcvChunks, FfcvStream
from scalegan.data.folder import FolderChunks
from scalegan.data.manifest import Manifest, check_content
from scalegan.data.order import Order
from scalegan.data.points import SETS, PointChunks
from scalegan.data.stream import Chunks, Stream
from scalegan.data.webdataset import WebDatasetChunks
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.games.base import Game, latents
from scalegan.games.compiled import Compiled
from scalegan.games.fakes import StyledFakes, plain_fakes
from scalegan.games.gan import GAN
from scalegan.games.unrolled import Unrolled
from scalegan.generator_file import style_of
from scalegan.models.layers.recompute import recompute_blocks
from scalegan.networks import Task
from scalegan.penalties import Consistency, PathLength
from scalegan.randomness import Draws, parameter_generators


def data_folder(path: str, resolution: int) -> Path:
    """`data.path` with $VARIABLES and ~ expanded; the cache's folder for an embedded set.

    Raises:
        RecipeError: for a variable that is not set.
    """
    if embedded.is_embedded(path):
        return embedded.folder_of(path, resolution)
    return Path(_expanded(path))


def _expanded(path: str) -> str:
    expanded = os.path.expanduser(os.path.expandvars(path))
    if "$" in expanded:
        variable = expanded[expanded.index("$"):].split("/")[0]
        raise RecipeError(f"data.path={path}: {variable} is not set; export it, or give data.path=FOLDER")
    return expanded


def open_data(recipe: config.Recipe) -> tuple[Chunks, Task, str, Tensor | None]:
    """The records, what they are, their content hash, and the table of labels (or None).

    Raises:
        UserError: where the data is missing, damaged, or not what the recipe says.
    """
    data = recipe.data

    def order_of(shard_sizes: tuple[int, ...]) -> Order:
        try:
            return Order(shard_sizes, recipe.batch_size, recipe.lanes, recipe.seed, data.block_records,
                         data.window_blocks)
        except ValueError as error:
            raise RecipeError(f"data.path={data.path}: {error}") from None

    if data.backend == "points":
        if data.path not in SETS:
            raise RecipeError(f"data.path={data.path}: backend=points has {', '.join(SETS)}")
        return PointChunks(data.path, order_of, recipe.seed), Task((2,)), f"points/{data.path}", None
    chunks = _open_images(data, order_of)
    manifest = chunks.manifest
    _check_manifest(data, manifest)
    shape = (manifest.image.channels, data.resolution, data.resolution)
    task, labels = Task(shape), None
    if data.labels != "none":
        labels = torch.from_numpy(chunks.index.labels)
        task = Task(shape, len(manifest.labels.names), data.labels == "attributes")
        _check_labels(data.path, labels, task, manifest.records)
    check_content(data.path, manifest, chunks.index)
    return chunks, task, manifest.content, labels


def _open_images(data: config.Data,
                 order_of: Callable[[tuple[int, ...]], Order]) -> WebDatasetChunks | FfcvChunks | FolderChunks:
    if is_url(_expanded(data.path)):
        if data.backend != "webdataset":
            raise RecipeError(f"data.path={data.path}: backend={data.backend} reads local files; prepare shards, and "
                              "give their URL with backend=webdataset")
        remote = Remote(_expanded(data.path), data.cache_bytes)
        return WebDatasetChunks(remote.open(), order_of, remote)
    folder = data_folder(data.path, data.resolution)
    if data.backend == "folder":
        return FolderChunks(folder, order_of, data.resolution)
    if not (folder / "manifest.json").is_file():
        raise RecipeError(f"data.path={data.path}: there is no {folder / 'manifest.json'}; make it with "
                          f"`scalegan prepare SOURCE {folder}`")
    return FfcvChunks(folder, order_of) if data.backend == "ffcv" else WebDatasetChunks(folder, order_of)


def evaluation_images(data: config.Data):
    """What a run's samples are held against: its own data, as it sees them.

    Raises:
        UserError: where that is 2-D points, or the shards are gone.
    """
    from scalegan.metrics.images import RunImages, StoredImages

    if data.backend == "points":
        raise RecipeError("data.backend=points makes 2-D points, which have no features to evaluate; leave eval out")
    if is_url(_expanded(data.path)):
        return StoredImages(_expanded(data.path))
    folder = data_folder(data.path, data.resolution)
    return RunImages(folder, data.resolution) if data.backend == "folder" else StoredImages(folder)


def evaluator(recipe: config.Recipe, task: Task, ranks: Ranks):
    """What measures the averaged generator at `eval.every_images`; imported for those who ask for it alone."""
    from scalegan.metrics.in_training import InTraining

    about = {"model": {"name": recipe.model.name}, "task": vars(task)}
    return InTraining(recipe.eval, about, evaluation_images(recipe.data), ranks, Path(recipe.run_dir))


def open_stream(chunks: Chunks, lanes: range, position: int, workers: int, pin: bool) -> Stream | FfcvStream:
    """Batches from `position` on: compiled code decodes in threads, everything else in processes."""
    if isinstance(chunks, FfcvChunks):
        return FfcvStream(chunks, lanes, position, workers, pin)
    return Stream(chunks, lanes, position, workers, pin)


def _check_manifest(data: config.Data, manifest: Manifest) -> None:
    if manifest.image.size != data.resolution:
        raise RecipeError(f"data.resolution={data.resolution}, but the manifest of {data.path} says "
                          f"{manifest.image.size} px; set data.resolution, or prepare the data again")
    if data.labels not in ("none", manifest.labels.kind):
        raise RecipeError(f"data.labels={data.labels}, but {data.path} has labels of kind "
                          f"'{manifest.labels.kind}'")


def _check_labels(path: str, labels: Tensor, task: Task, records: int) -> None:
    """Every record has a label, of the classes or attributes that the manifest names."""
    shape = (records, task.num_classes) if task.multilabel else (records,)
    if labels.shape != shape:
        raise UserError(f"data.path={path}: the labels are {list(labels.shape)}, and should be {list(shape)}; "
                        "prepare the data again")
    low, high = (int(value) for value in labels.aminmax())
    last = 1 if task.multilabel else task.num_classes - 1
    if low < 0 or high > last:
        raise UserError(f"data.path={path}: there is a label {low if low < 0 else high}, but the manifest has 0 to "
                        f"{last}; prepare the data again")


def game(recipe: config.Recipe, task: Task) -> Game:
    """The recipe's game, with initial weights keyed by (seed, player, parameter name)."""
    generator, discriminator = networks.build(recipe.model, task)
    settings, penalties = recipe.game, recipe.game.penalties
    r1, r2 = penalties.r1 or config.R1(gamma=0), penalties.r2 or config.R2(gamma=0)
    path = penalties.path_length
    styled = recipe.model.name == "stylegan2"
    discriminator = objectives.discriminator(recipe, task, discriminator)
    kind = partial(Unrolled, steps=settings.steps, step_size=settings.step_size) if settings.name == "unrolled" else GAN
    played = kind(
        generator, discriminator, objectives.loss(settings), r1_gamma=r1.gamma, r1_every=r1.every, r2_gamma=r2.gamma,
        path_length=PathLength(path.weight, path.decay) if path else None, path_every=path.every if path else 1,
        orthogonal=penalties.orthogonal.weight if penalties.orthogonal else 0.0,
        consistency=Consistency(**vars(penalties.bcr)) if penalties.bcr else None, augment=augment(recipe),
        fakes=StyledFakes(recipe.model.mixing) if styled else plain_fakes,
        order=settings.order, fresh_batch=settings.fresh_batch, updates=settings.updates,
        tricks=objectives.tricks(settings, generator, discriminator), clip=objectives.clip(settings))
    initialise(played, recipe.seed)
    if recipe.engine.activation_checkpointing:
        for player in played.players.values():
            recompute_blocks(player)
    if recipe.engine.compile:
        played.quick = {name: Compiled(player) for name, player in played.players.items()}
    return played


def augment(recipe: config.Recipe) -> Augment:
    """What the recipe does to images before D sees them."""
    noise = recipe.game.tricks.instance_noise
    return InstanceNoise(_augment(recipe), noise) if noise else _augment(recipe)


def _augment(recipe: config.Recipe) -> Augment:
    settings = recipe.augment
    if settings.name == "none":
        return Augment()
    if settings.name == "diffaugment":
        return DiffAugment(settings.policies)
    given = settings.target is None
    probability = Given(settings.p) if given else \
        Adaptive(settings.p, settings.target, recipe.batch_size / settings.adapt_images)
    return Ada(vars(settings.pipe), probability)


def initialise(played: Game, seed: int) -> None:
    """Fills every player's weights from generators keyed by (seed, player, parameter name)."""
    for name, player in played.players.items():
        player.initialise(parameter_generators(seed, name))


class SamplePainter:
    """Draws the run's picture: samples from fixed latents, column i showing class i where there are classes."""

    def __init__(self, recipe: config.Recipe, task: Task, chunks: Chunks, labels: Tensor | None,
                 device: torch.device) -> None:
        self.recipe, self.task, self.chunks, self.device = recipe, task, chunks, device
        rows, columns = recipe.snapshot.rows, recipe.snapshot.columns
        self.count = rows * columns if len(task.shape) == 3 else 2500
        self.draws = Draws(recipe.seed, 0, "snapshot", torch.arange(self.count, device=device))
        self.labels = None
        if task.multilabel:
            self.labels = labels[self.draws.integers("label", len(labels)).cpu()].to(device)
        elif task.num_classes:
            self.labels = torch.arange(self.count, device=device) % columns % task.num_classes

    @torch.no_grad()
    def samples(self, generator: nn.Module, path: Path) -> Tensor:
        """Draws the picture, and returns the samples [N, ...]."""
        samples = generator(latents(generator, self.draws), self.labels, **style_of(generator))
        if samples.dim() == 4:
            pictures.save_grid(path, samples, self.recipe.snapshot.columns)
        else:
            pictures.save_points(path, samples, self._reals())
        return samples

    def reals(self, path: Path) -> None:
        """The first images of the run, of the same number."""
        reals = self._reals()
        if reals.dim() == 4:
            pictures.save_grid(path, reals.float() / 127.5 - 1, self.recipe.snapshot.columns)

    def _reals(self) -> Tensor:
        order, taken, position = self.chunks.order, [], 0
        while sum(map(len, taken)) < self.count and (not taken or position + order.batch_size <= order.records):
            taken += [self.chunks.chunk(position, lane)[0] for lane in range(order.lanes)]
            position += order.batch_size
        return torch.cat(taken)[: self.count]
