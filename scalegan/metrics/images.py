"""Image sets for evaluation: shards, or the files of a folder or zip. Images are read by number, from any thread."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from scalegan.data import captions
from scalegan.data.autoencoder_file import decoder_beside
from scalegan.data.beton_file import stands_alone
from scalegan.data.codec import pixels_of
from scalegan.data.manifest import Manifest, check_content, digest_of
from scalegan.data.picture import all_grey, is_converted, read_picture
from scalegan.data.pixels import showing, to_uint8
from scalegan.data.preparing.sources import guess_kind, open_source
from scalegan.data.preparing.sources.base import Listed, Picture, attempt
from scalegan.data.reading.cache import Remote, is_url
from scalegan.data.reading.ffcv_reader import FfcvReader
from scalegan.data.reading.folder import FolderReader
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.data.spec import Latents
from scalegan.data.vectors import VectorTable
from scalegan.errors import UserError
from scalegan.models.autoencoder_kl import Decoder
from scalegan.support import devices, digests
from scalegan.support.resolution import Resolution

_READERS = 8
_INSPECTED = 64         # images to inspect for whether a set is grey
_CACHE_BYTES = 100_000_000_000


class Images(Protocol):
    """A set of images of one shape.

    Attributes:
        name: its name in error messages.
        shape: (channels, height, width).
        content: hash of its content; evaluations against different content are not compared.
        labels: class of each, int64 [N]; attributes, uint8 [N, K]; or None.
        classes: names of the classes or attributes, or empty.
        remarks: what to know of it, such as files that were passed over; a phrase each.
        unlabelled: why no labels were taken although there may be some; empty otherwise.
        people: the number of who each shows, int64 [N]; or None.
        vectors: that describe the images, or None.
    """

    name: str
    shape: tuple[int, int, int]
    content: str
    labels: np.ndarray | None
    classes: tuple[str, ...]
    remarks: tuple[str, ...]
    unlabelled: str
    people: np.ndarray | None
    vectors: VectorTable | None

    def __len__(self) -> int: ...

    def read(self, number: int) -> np.ndarray:
        """uint8 or uint16 [H, W, C]. Raises ValueError or OSError if the image cannot be read."""

    def file(self, number: int) -> str:
        """The image's name in messages."""

    def classes_of(self, numbers: np.ndarray) -> np.ndarray | None:
        """Class of each, int64 [n], if there are classes."""


class _Labelled:
    labels: np.ndarray | None
    remarks: tuple[str, ...] = ()
    unlabelled: str = ""
    people: np.ndarray | None = None
    vectors: VectorTable | None = None

    def classes_of(self, numbers: np.ndarray) -> np.ndarray | None:
        return self.labels[numbers] if self.labels is not None and self.labels.ndim == 1 else None


class StoredImages(_Labelled):
    """The records of a shard set, local or by URL; volumes, uint8 [1, D, H, W], and latents, float16 [views, 2, C, H,
    W], only for who asks for this `kind`.

    Raises:
        UserError: if it holds another kind, or is damaged.
    """

    def __init__(self, path: str | Path, kind: Literal["image", "volume", "latent"] = "image") -> None:
        self.reader = _open_reader(str(path))
        manifest, labels = self.reader.manifest, self.reader.index.labels
        if manifest.image.kind != kind:
            raise UserError(f"{path} holds {manifest.image.kind}s, not {kind}s; name a set of {kind}s")
        check_content(str(path), manifest, self.reader.index)
        self.name, self.content = str(path), manifest.content
        self.shape = manifest.image.tensor_shape
        described = manifest.labels.kind == "vectors"
        self.labels, self.classes = (labels if len(labels) and not described else None), manifest.labels.names
        self.unlabelled = "it has vectors in their place" * described
        if described and not is_url(str(path)):
            found = captions.read(Path(path), manifest.labels.vectors)
            self.vectors = VectorTable(torch.from_numpy(found.vectors), torch.from_numpy(labels), found.encoder)
        if seen := showing(manifest.image.channels) if kind == "image" else "":
            self.remarks = (f"of its {manifest.image.channels} channels, metrics of features see {seen}",)
        self.people = self.reader.index.people if len(self.reader.index.people) else None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.reader.manifest.records

    def read(self, number: int) -> np.ndarray:
        with self._lock:
            data = next(self.reader.stored(np.array([number])))
        if digest_of(data) != self.reader.index.digests[number]:
            raise ValueError("it is damaged: its digest differs")
        return pixels_of(data, self.reader.manifest.image)

    def file(self, number: int) -> str:
        return f"record {number}"


class DecodedImages(StoredImages):
    """The images that the means of a set of latents are decoded to, for comparisons with samples that are decoded, too.

    Args:
        path: of the set of latents.
        decoder_of: gives their decoder.

    Raises:
        UserError: if the set holds no latents, or is damaged; or has no decoder.
    """

    def __init__(self, path: str, decoder_of: Callable[[Latents], Decoder]) -> None:
        super().__init__(path, "latent")
        self.latents = self.reader.manifest.image.latents
        self.decoder = decoder_of(self.latents).to(devices.available())
        self.shape = self.latents.image
        self.content = hashlib.sha256(f"{self.content} {digests.digest_of(self.decoder)}".encode()).hexdigest()
        self.remarks = ("its images are decoded from latents, so that what the autoencoder loses does not count; name "
                        "the original images with --data or eval.data.path to count it",)
        self._decoding = threading.Lock()

    def read(self, number: int) -> np.ndarray:
        stored = torch.from_numpy(super().read(number))[:1]       # of the image itself, not its mirror image
        with self._decoding, torch.inference_mode():
            image = self.decoder(self.latents.drawn(stored).to(next(self.decoder.parameters()).device))
        return to_uint8(image)[0].permute(1, 2, 0).cpu().numpy()


def _open_reader(path: str) -> WebDatasetReader | FfcvReader:
    if is_url(path):
        remote = Remote(path, _CACHE_BYTES)
        return WebDatasetReader(remote.open(), remote)
    return (FfcvReader if stands_alone(Path(path)) else WebDatasetReader)(Path(path))


class RunImages(_Labelled):
    """A folder or zip as a run with data.backend=folder sees it: cropped and resized."""

    def __init__(self, path: Path, size: Resolution) -> None:
        self.reader = FolderReader(path, size)
        image, labels = self.reader.manifest.image, self.reader.index.labels
        self.name, self.content = str(path), self.reader.manifest.content
        self.shape = image.tensor_shape
        self.labels, self.classes = (labels if len(labels) else None), self.reader.manifest.labels.names
        self.remarks, self.people = self.reader.remarks, self.reader.source.people

    def __len__(self) -> int:
        return self.reader.manifest.records

    def read(self, number: int) -> np.ndarray:
        return self.reader.pixels(number)

    def file(self, number: int) -> str:
        return self.reader.source.files[number]


class Reordered(_Labelled):
    """Images in another order.

    Args:
        numbers: the number in `images` of each image in the new order, int64 [N].
    """

    def __init__(self, images: Images, numbers: np.ndarray) -> None:
        self._images, self._numbers = images, numbers
        self.name, self.shape, self.content, self.classes = images.name, images.shape, images.content, images.classes
        self.labels, self.people = (None if t is None else t[numbers] for t in (images.labels, images.people))

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, number: int) -> np.ndarray:
        return self._images.read(self._numbers[number])

    def file(self, number: int) -> str:
        return self._images.file(self._numbers[number])


class FileImages(_Labelled):
    """The image files of a folder or zip as they are, sorted by path as in torch-fidelity.

    Files and labels are those that `scalegan prepare` takes. All must have the shape of the first readable image.
    """

    def __init__(self, path: Path) -> None:
        source, self.unlabelled = _source(path)
        order = sorted(range(len(source)), key=source.files.__getitem__)
        self._source, self._order = source, order
        self._files = [source.files[number] for number in order]
        self.name, self.remarks = str(path), source.remarks
        if source.name.startswith("cifar10"):
            self.remarks += (f"read as {source.name}",)
        if self.unlabelled:
            self.remarks += (f"read without labels, as {self.unlabelled}",)
        with ThreadPoolExecutor(_READERS) as pool:
            digests, converted = zip(*pool.map(self._digest, range(len(order))))
        hasher = hashlib.sha256(np.array(digests, np.uint64).tobytes())
        hasher.update(b"sRGB" * any(converted))
        self.content = hasher.hexdigest()
        self.shape = self._shape()
        self.labels, self.people = (None if t is None else t[order] for t in (source.table, source.people))
        self.classes = source.labels.names

    def __len__(self) -> int:
        return len(self._files)

    def read(self, number: int) -> np.ndarray:
        """Also raises UserError if the image's shape differs from the set's."""
        pixels = self._pixels(number)
        channels, height, width = self.shape
        if pixels.shape[2] < channels:
            pixels = pixels.repeat(channels, axis=2)
        if pixels.shape != (height, width, channels):
            raise UserError(f"{self.name}: {self._files[number]} is {described(pixels.transpose(2, 0, 1).shape)}, but "
                            f"{self._files[self._first]} is {described(self.shape)}; give all images the same shape, "
                            "as `scalegan prepare` does")
        return pixels

    def file(self, number: int) -> str:
        return self._files[number]

    def _stored(self, number: int) -> Picture:
        return self._source.entry(self._order[number]).read()

    def _pixels(self, number: int) -> np.ndarray:
        stored = self._stored(number)
        return read_picture(stored) if isinstance(stored, bytes) else stored

    def _digest(self, number: int) -> tuple[int, bool]:
        """The digest of a file's bytes, and whether its colours are converted; 0 if `read` will report a problem."""
        stored = attempt(lambda: self._stored(number))
        if isinstance(stored, Exception):
            return 0, False
        if isinstance(stored, bytes):
            return digest_of(stored), is_converted(stored)
        return digest_of(np.ascontiguousarray(stored).tobytes()), False

    def _shape(self) -> tuple[int, int, int]:
        pictures = []
        for number in range(len(self._files)):
            try:
                pixels = self._pixels(number)
            except (ValueError, OSError):
                continue
            if not pictures:
                self._first = number
            pictures.append(pixels)
            if len(pictures) == _INSPECTED:
                break
        if not pictures:
            raise UserError(f"{self.name}: none of its {len(self._files)} images can be read")
        height, width = pictures[0].shape[:2]
        return 1 if all_grey(pictures) else 3, height, width


def _source(path: Path) -> tuple[Listed, str]:
    """The files of a folder or zip as `scalegan prepare` reads them; and why they are read without labels, where theirs
    make no sense: most metrics need none."""
    kind = guess_kind(path)
    if kind == "lsun":
        raise UserError(f"{path} is an LMDB; convert it with `scalegan prepare {path} DEST --kind lsun`, and name DEST")
    try:
        return open_source(kind, [path]), ""
    except UserError as error:
        return open_source(kind, [path], "none"), str(error)


def open_images(path: str) -> Images:
    """A shard set (folder or URL), or a folder or zip of images. Raises UserError if it does not exist."""
    if is_url(path):
        return StoredImages(path)
    if (Path(path) / "manifest.json").is_file():
        if Manifest.load(Path(path)).image.kind == "latent":
            return DecodedImages(path, partial(decoder_beside, Path(path)))
        return StoredImages(path)
    if not Path(path).exists():
        raise UserError(f"{path} does not exist")
    return FileImages(Path(path))


def described(shape: tuple[int, ...]) -> str:
    """'64 x 64 px, 3 channels' of (3, 64, 64), '64 x 64 x 64 voxels' of (1, 64, 64, 64)."""
    if len(shape) == 4:
        return f"{' x '.join(map(str, shape[1:]))} voxels"
    channels, height, width = shape
    return f"{width} x {height} px, {channels} channel{'s' if channels > 1 else ''}"


def check_same_shape(fakes: "Images", reals: "Images") -> None:
    """Raises a UserError that names both sets if they differ in size or channels."""
    if fakes.shape != reals.shape:
        raise UserError(f"{fakes.name} has images of {described(fakes.shape)}, but {reals.name} of "
                        f"{described(reals.shape)}; use sets of the same shape")
