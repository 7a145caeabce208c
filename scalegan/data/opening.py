"""Opens the data of a recipe's streams, in the run's order."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from scalegan.config import Data, Recipe
from scalegan.config.game import streams_of
from scalegan.data import autoencoder_file
from scalegan.data import captions as captions_of
from scalegan.data.autoencoder_file import FILE
from scalegan.data.captions import Captions
from scalegan.data.manifest import ImageFormat, Manifest, check_content, how_to_prepare
from scalegan.data.paths import expanded
from scalegan.data.preparing import embedded
from scalegan.data.reading.cache import Remote, is_url
from scalegan.data.reading.ffcv_reader import FfcvReader, FfcvStream
from scalegan.data.reading.folder import FolderReader
from scalegan.data.reading.order import Endless, Order
from scalegan.data.reading.pairing import PairedOrder, match_records
from scalegan.data.reading.points import SETS, PointReader
from scalegan.data.reading.record_reader import OrderedReader, RecordReader
from scalegan.data.reading.stream import Stream
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.data.spec import Latents, Link, PairedWith, Spec
from scalegan.data.vectors import VectorTable
from scalegan.errors import RecipeError, UserError
from scalegan.models.autoencoder_kl import Decoder
from scalegan.support.keys import key_of
from scalegan.support.resolution import Resolution

D = TypeVar("D")    # Data or HeldOut
_UNITS = {"image": "px", "volume": "voxels", "latent": "latents"}


@dataclass(frozen=True)
class Source:
    """An opened stream of a game.

    Args:
        settings: its configuration, from `data` or `streams.<name>`.
        records: its records, in the run's order.
        spec: what its samples are.
        content: hash of its data, part of the run's identity.
        conditions: int64 [N], float32 [N, K] or vectors of all records, or None.
        captions: those of the vectors, if these are of texts.
        flips_with: the stream whose draws flip its images: itself, or the first of those it is paired with.
    """

    settings: Data
    records: OrderedReader
    spec: Spec
    content: str
    conditions: Tensor | VectorTable | None
    flips_with: str
    captions: Captions | None = None

    def open(self, lanes: range, position: int, pin: bool) -> Stream | FfcvStream:
        """Batches from `position` on. FFCV's compiled code decodes in threads, the other backends in processes."""
        kind = FfcvStream if isinstance(self.records.reader, FfcvReader) else Stream
        return kind(self.records, lanes, position, self.settings.workers, pin)


def open_sources(recipe: Recipe) -> dict[str, Source]:
    """Every stream of the recipe's game, by name, in the game's order.

    Raises:
        UserError: if data is missing, damaged or not what the recipe says, or paired records have no partner.
    """
    sources: dict[str, Source] = {}
    for name, link in streams_of(recipe).items():
        data = settings_of(recipe, name)
        key = "data" if data is recipe.data else f"streams.{name}"
        reader, spec, content, conditions, captions = \
            _open(data, key, recipe.seed if not sources else key_of(recipe.seed, name))
        order = _order(recipe, name, data, key, reader, link, sources)
        flips_with = sources[link.stream].flips_with if isinstance(link, PairedWith) else name
        sources[name] = Source(data, OrderedReader(reader, order), spec, content, conditions, flips_with, captions)
    return sources


def open_records(recipe: Recipe) -> RecordReader:
    """The reader of the recipe's first stream. Raises UserError as `open_sources` does."""
    return _open(recipe.data, "data", recipe.seed)[0]


def settings_of(recipe: Recipe, stream: str) -> Data:
    """A stream's settings: `data` configures the game's first, `streams.<name>` the others."""
    first = next(iter(streams_of(recipe)))
    return recipe.data if stream == first else recipe.streams[stream]


def data_folder(path: str, resolution: Resolution, key: str = "data.path") -> Path:
    """The path given by `key`, `expanded`; for an embedded set, its folder in the cache.

    Raises:
        RecipeError: as for `expanded`.
    """
    if embedded.is_embedded(path):
        return embedded.folder_of(path, resolution)
    return Path(expanded(path, key))


def located(recipe: Recipe) -> Recipe:
    """The recipe with its data paths expanded, as checkpoints store it: nothing in a checkpoint is expanded."""
    def of(settings: D, key: str) -> D:
        literal = getattr(settings, "backend", "") == "points" or embedded.is_embedded(settings.path)
        if getattr(settings, "decoder", ""):
            settings = replace(settings, decoder=expanded(settings.decoder, f"{key}.decoder"))
        return settings if literal else replace(settings, path=expanded(settings.path, f"{key}.path"))

    def of_all(streams: Mapping[str, D], key: str) -> dict[str, D]:
        return {name: of(settings, f"{key}.{name}") for name, settings in streams.items()}

    found = replace(recipe, data=of(recipe.data, "data"), streams=of_all(recipe.streams, "streams"))
    with suppress(RecipeError):     # about a variable that nothing in this run needs
        found = replace(found, eval=replace(recipe.eval, data=of(recipe.eval.data, "eval.data"),
                                            streams=of_all(recipe.eval.streams, "eval.streams")))
    return found


def _open(data: Data, key: str, seed: int,
          ) -> tuple[RecordReader, Spec, str, Tensor | VectorTable | None, Captions | None]:
    """A stream's reader, its spec, its content hash, the conditions of all records, and their captions."""
    if data.backend == "points":
        if data.path not in SETS:
            raise RecipeError(f"{key}.path={data.path}: backend=points has only {', '.join(SETS)}")
        return PointReader(data.path, seed), Spec("points", (2,)), f"points/{data.path}", None, None
    reader = _open_images(data, key)
    manifest = reader.manifest
    _check_manifest(data, key, manifest)
    image, conditions, captions = manifest.image, None, None
    spec = Spec(image.kind, image.tensor_shape, depth=image.depth, alpha=image.alpha, latents=image.latents)
    if data.labels == "vectors":
        spec = replace(spec, vector_dim=manifest.labels.dim)
        captions = _captions(data, key, manifest)
        conditions = VectorTable(torch.from_numpy(captions.vectors), torch.from_numpy(reader.index.labels))
        _check_vectors(f"{key}.path={data.path}", conditions, spec, manifest.records)
    elif data.labels != "none":
        conditions = torch.from_numpy(reader.index.labels)
        kind = "classes" if data.labels == "class" else "attributes"
        spec = replace(spec, **{kind: len(manifest.labels.names)}, label_names=manifest.labels.names)
        _check_labels(f"{key}.path={data.path}", conditions, spec, manifest.records)
    check_content(data.path, manifest, reader.index)
    return reader, spec, manifest.content, conditions, captions


def _captions(data: Data, key: str, manifest: Manifest) -> Captions:
    path = expanded(data.path, f"{key}.path")
    if is_url(path):
        raise RecipeError(f"{key}.path={data.path}: captions are read from local sets only; copy the set, and name its "
                          "folder")
    return captions_of.read(data_folder(data.path, data.resolution, f"{key}.path"), manifest.labels.vectors)


def _check_vectors(place: str, table: VectorTable, spec: Spec, records: int) -> None:
    """Checks that every record has vectors of the length that the manifest says."""
    vectors, rows = table.vectors, table.rows
    fits = vectors.dim() == 2 and vectors.shape[1] == spec.vector_dim and rows.shape == (records, 2)
    if not (fits and (rows[:, 0] >= 0).all() and (rows[:, 1] > 0).all() and (rows.sum(1) <= len(vectors)).all()):
        raise UserError(f"{place}: index.safetensors and captions.safetensors do not match; prepare the data again")


def _order(recipe: Recipe, name: str, data: Data, key: str, reader: RecordReader, link: Link,
           sources: dict[str, Source]) -> Order | Endless | PairedOrder:
    """The stream's own order, keyed by its name unless it is the first; or that of the stream it is paired with."""
    if isinstance(link, PairedWith):
        leader = sources[link.stream].records
        return PairedOrder(leader.order, match_records(leader.reader, reader, (link.stream, name)))
    if isinstance(reader, PointReader):
        return Endless(recipe.batch_size, recipe.lanes)
    seed = recipe.seed if not sources else key_of(recipe.seed, "stream", name)
    try:
        return Order(reader.sizes, recipe.batch_size, recipe.lanes, seed, data.block_records, data.window_blocks)
    except ValueError as error:
        raise RecipeError(f"{key}.path={data.path}: {error}") from None


def _open_images(data: Data, key: str) -> WebDatasetReader | FfcvReader | FolderReader:
    path = expanded(data.path, f"{key}.path")
    if is_url(path):
        if data.backend != "webdataset":
            raise RecipeError(f"{key}.path={data.path}: backend={data.backend} reads local files only; prepare shards "
                              "and use their URL with backend=webdataset")
        remote = Remote(path, data.cache_bytes)
        return WebDatasetReader(remote.open(), remote)
    folder = data_folder(data.path, data.resolution, f"{key}.path")
    if data.backend == "folder":
        return FolderReader(folder, data.resolution, key)
    if not (folder / "manifest.json").is_file():
        raise RecipeError(f"{key}.path={data.path}: there is no {folder / 'manifest.json'}; "
                          f"{how_to_prepare(folder)}")
    return FfcvReader(folder) if data.backend == "ffcv" else WebDatasetReader(folder)


def decoder_of(data: Data, latents: Latents, key: str = "data") -> Decoder:
    """What decodes the latents of a set to images.

    Raises:
        UserError: if it is missing, damaged, or another set's.
    """
    if data.decoder:
        path, remedy = Path(expanded(data.decoder, f"{key}.decoder")), f"leave out {key}.decoder, or name another file"
    elif is_url(expanded(data.path, f"{key}.path")):
        raise RecipeError(f"{key}.path={data.path}: decoders are read from local files only; copy {FILE} of the set, "
                          f"and name the copy by {key}.decoder")
    else:
        return autoencoder_file.decoder_beside(data_folder(data.path, data.resolution, f"{key}.path"), latents)
    return autoencoder_file.decoder_of(path, latents, remedy)


def _check_latents(data: Data, key: str, image: ImageFormat) -> None:
    """Checks what the recipe says of latents."""
    channels = image.channels if image.latents else 0
    if data.latents != channels:
        holds = f"latents of {channels} channels" if channels else f"{image.kind}s"
        raise RecipeError(f"{key}.latents={data.latents}, but {data.path} holds {holds}; set {key}.latents={channels}")
    if channels and data.flip and not image.latents.mirrored:
        raise RecipeError(f"{key}.flip=true needs the latents of mirrored images, which {data.path} does not have; set "
                          f"{key}.flip=false, or prepare the data again with --mirrored")


def _check_manifest(data: Data, key: str, manifest: Manifest) -> None:
    _check_latents(data, key, manifest.image)
    size, unit = manifest.image.resolution, _UNITS[manifest.image.kind]
    if size != data.resolution:
        raise RecipeError(f"{key}.resolution={data.resolution}, but the manifest of {data.path} says {size} {unit}; "
                          f"set {key}.resolution={size}, or prepare the data again")
    if data.labels not in ("none", manifest.labels.kind):
        remedy = f"set {key}.labels={manifest.labels.kind}" if manifest.labels.kind != "none" else \
            f"name a set with labels by {key}.path, or set {key}.labels=none if the game needs none"
        raise RecipeError(f"{key}.labels={data.labels}, but {data.path} has labels of kind '{manifest.labels.kind}'; "
                          f"{remedy}")


def _check_labels(place: str, labels: Tensor, spec: Spec, records: int) -> None:
    """Checks that every record has a label, among the classes or attributes that the manifest names."""
    shape = (records, spec.attributes) if spec.multilabel else (records,)
    if labels.shape != shape:
        raise UserError(f"{place}: the labels have shape {list(labels.shape)}, not {list(shape)}; "
                        "prepare the data again")
    low, high = (int(value) for value in labels.aminmax())
    last = 1 if spec.multilabel else spec.classes - 1
    if low < 0 or high > last:
        raise UserError(f"{place}: there is a label {low if low < 0 else high}, but the manifest has 0 to "
                        f"{last}; prepare the data again")
