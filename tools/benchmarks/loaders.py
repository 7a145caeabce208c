"""Loaders that deliver the same photos to the main process: ours and its peers, each used as its authors intend.

All yield shuffled uint8 batches of 64 from two workers. Each is a generator; closing it ends its workers.
"""

import contextlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import simplejpeg
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from scalegan.data.reading.order import Order
from scalegan.data.reading.record_reader import OrderedReader, RecordReader
from scalegan.data.reading.stream import Stream
from scalegan.data.reading.webdataset import WebDatasetReader
from tools.benchmarks import photos

BATCH, WORKERS, LANES = 64, 2, 4
_FORK = "fork"      # passed to all, as litdata changes the default for the whole process
Batches = Iterator[Tensor]


def ordered(reader: RecordReader) -> OrderedReader:
    return OrderedReader(reader, Order(reader.sizes, BATCH, LANES, seed=0))


def webdataset(size: int) -> Batches:
    yield from _of_stream(Stream(ordered(WebDatasetReader(photos.shards(size))), range(LANES), 0, WORKERS))


def ffcv(size: int, encoding: str = "jpeg") -> Batches:
    """Raises UserError where FFCV is missing."""
    from scalegan.data.reading.ffcv_reader import FfcvReader, FfcvStream

    yield from _of_stream(FfcvStream(ordered(FfcvReader(photos.beton(size, encoding))), range(LANES), 0, WORKERS))


def _of_stream(stream) -> Batches:
    with contextlib.closing(stream) if hasattr(stream, "close") else contextlib.nullcontext():
        while True:
            yield stream.take().samples


def image_folder(size: int) -> Batches:
    """torchvision's ImageFolder, Pillow and DataLoader."""
    from torchvision import datasets, transforms

    dataset = datasets.ImageFolder(photos.image_folder(size), transforms.PILToTensor())
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True,
                        multiprocessing_context=_FORK)
    yield from (samples for samples, _ in _epochs(loader))


def plain_webdataset(size: int) -> Batches:
    """The webdataset package's own pipeline over our shards, with decode("pil")."""
    import webdataset
    from torchvision import transforms

    urls = sorted(str(path) for path in photos.shards(size).glob("*.tar"))
    dataset = (webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000).decode("pil").to_tuple("jpg")
               .map_tuple(transforms.PILToTensor()).batched(BATCH, partial=False))
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=WORKERS, multiprocessing_context=_FORK)
    yield from (samples for samples, in _epochs(loader))


def litdata(size: int) -> Batches:
    """litdata's streaming dataset of JPEGs, decoded with torchvision."""
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(str(_litdata_chunks(size)), shuffle=True, drop_last=True)
    yield from _epochs(StreamingDataLoader(dataset, batch_size=BATCH, num_workers=WORKERS, drop_last=True,
                                           multiprocessing_context=_FORK))


@cache
def _litdata_chunks(size: int) -> Path:
    from litdata import optimize

    folder = photos.scratch() / f"litdata{size}"
    files = sorted(str(path) for path in photos.image_folder(size).rglob("*.jpg"))
    with contextlib.redirect_stdout(sys.stderr):
        optimize(_opened, files, str(folder), chunk_bytes="64MB", num_workers=1, verbose=False)
    return folder


def _opened(path: str):
    from PIL import Image

    return Image.open(path)


def streaming(size: int) -> Batches:
    """MosaicML streaming over MDS shards of JPEGs, decoded with libjpeg-turbo as ours are; its own decoder, Pillow, is
    slower."""
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    class Photos(StreamingDataset):
        def __getitem__(self, at: int) -> Tensor:
            return torch.from_numpy(simplejpeg.decode_jpeg(super().__getitem__(at)["image"], "RGB"))

    clean_stale_shared_memory()
    dataset = Photos(local=str(_mds(size)), shuffle=True, batch_size=BATCH)
    loader = DataLoader(dataset, BATCH, num_workers=WORKERS, drop_last=True, multiprocessing_context=_FORK)
    yield from (samples.permute(0, 3, 1, 2) for samples in _epochs(loader))


@cache
def _mds(size: int) -> Path:
    from streaming import MDSWriter

    folder = photos.scratch() / f"mds{size}"
    with MDSWriter(out=str(folder), columns={"image": "bytes"}) as writer:
        for data in photos.stored(size):
            writer.write({"image": data})
    return folder


def bare_ffcv(size: int, encoding: str = "jpeg") -> Batches:
    """FFCV's own Loader with its own decoder on our file. Raises UserError where FFCV is missing."""
    from scalegan.data.beton_file import BETON, require

    require()
    from ffcv.fields.decoders import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    loader = Loader(str(photos.beton(size, encoding) / BETON), BATCH, num_workers=WORKERS, order=OrderOption.RANDOM,
                    os_cache=True, drop_last=True, pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()]})
    yield from (samples for samples, *_ in _epochs(loader))


def _epochs(loader) -> Iterator:
    while True:
        yield from loader

