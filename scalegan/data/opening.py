"""From a recipe's `data` to its records and their stream."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from scalegan.config import Data, Recipe
from scalegan.data.manifest import Manifest, check_content
from scalegan.data.preparing import embedded
from scalegan.data.reading.cache import Remote, is_url
from scalegan.data.reading.ffcv_reader import FfcvChunks, FfcvStream
from scalegan.data.reading.folder import FolderChunks
from scalegan.data.reading.order import Order
from scalegan.data.reading.points import SETS, PointChunks
from scalegan.data.reading.record_reader import Chunks
from scalegan.data.reading.stream import Stream
from scalegan.data.reading.webdataset import WebDatasetChunks
from scalegan.data.spec import Task
from scalegan.errors import RecipeError, UserError


def data_folder(path: str, resolution: int) -> Path:
    """`data.path` with $VARIABLES and ~ expanded; the cache's folder for an embedded set.

    Raises:
        RecipeError: for a variable that is not set.
    """
    if embedded.is_embedded(path):
        return embedded.folder_of(path, resolution)
    return Path(expanded(path))


def expanded(path: str) -> str:
    expanded = os.path.expanduser(os.path.expandvars(path))
    if "$" in expanded:
        variable = expanded[expanded.index("$"):].split("/")[0]
        raise RecipeError(f"data.path={path}: {variable} is not set; export it, or give data.path=FOLDER")
    return expanded


def open_data(recipe: Recipe) -> tuple[Chunks, Task, str, Tensor | None]:
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


def _open_images(data: Data,
                 order_of: Callable[[tuple[int, ...]], Order]) -> WebDatasetChunks | FfcvChunks | FolderChunks:
    if is_url(expanded(data.path)):
        if data.backend != "webdataset":
            raise RecipeError(f"data.path={data.path}: backend={data.backend} reads local files; prepare shards, and "
                              "give their URL with backend=webdataset")
        remote = Remote(expanded(data.path), data.cache_bytes)
        return WebDatasetChunks(remote.open(), order_of, remote)
    folder = data_folder(data.path, data.resolution)
    if data.backend == "folder":
        return FolderChunks(folder, order_of, data.resolution)
    if not (folder / "manifest.json").is_file():
        raise RecipeError(f"data.path={data.path}: there is no {folder / 'manifest.json'}; make it with "
                          f"`scalegan prepare SOURCE {folder}`")
    return FfcvChunks(folder, order_of) if data.backend == "ffcv" else WebDatasetChunks(folder, order_of)


def open_stream(chunks: Chunks, lanes: range, position: int, workers: int, pin: bool) -> Stream | FfcvStream:
    """Batches from `position` on: compiled code decodes in threads, everything else in processes."""
    if isinstance(chunks, FfcvChunks):
        return FfcvStream(chunks, lanes, position, workers, pin)
    return Stream(chunks, lanes, position, workers, pin)


def _check_manifest(data: Data, manifest: Manifest) -> None:
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
