"""Loaders that came later than those in `loaders`, on the same terms: SPDL, Grain, datago and torchcodec."""

import itertools
import json
import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tools.benchmarks import photos
from tools.benchmarks.loaders import BATCH, WORKERS, Batches

_FORK = "fork"


def spdl(size: int) -> Batches:
    """SPDL's pipeline of threads: each reads a batch of files and decodes it in place, with libjpeg-turbo as ours; its
    own decoder needs all of FFmpeg's libraries."""
    from spdl.pipeline import PipelineBuilder

    def load(paths: list[str]) -> Tensor:
        samples = np.empty((BATCH, size, size, 3), np.uint8)
        for path, pixels in zip(paths, samples):
            simplejpeg.decode_jpeg(Path(path).read_bytes(), "RGB", buffer=pixels)
        return torch.from_numpy(samples)

    # The source yields whole batches: single paths, each passed on by itself, cost a tenth of a millisecond apiece.
    builder = PipelineBuilder().add_source(_batches(_shuffled(_paths(size))))
    pipeline = builder.pipe(load, concurrency=WORKERS).add_sink(4).build(num_threads=WORKERS)
    with pipeline.auto_stop():
        for samples in pipeline:
            yield samples.permute(0, 3, 1, 2)


def grain(size: int) -> Batches:
    """Grain over ArrayRecord; it has no decoder, so that it gets ours, libjpeg-turbo."""
    from grain import MapDataset, MultiprocessingOptions, ReadOptions
    from grain.sources import ArrayRecordDataSource

    dataset = MapDataset.source(ArrayRecordDataSource([str(_array_records(size))])).seed(0).shuffle().map(_decoded)
    batches = dataset.batch(BATCH, drop_remainder=True).repeat().to_iter_dataset(ReadOptions(num_threads=1))
    for samples in batches.mp_prefetch(MultiprocessingOptions(num_workers=WORKERS, per_worker_buffer_size=4)):
        yield torch.from_numpy(samples).permute(0, 3, 1, 2)


def _decoded(data: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, "RGB")


@cache
def _array_records(size: int) -> Path:
    from array_record.python.array_record_module import ArrayRecordWriter

    path = photos.scratch() / f"{size}.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for data in photos.stored(size):
        writer.write(data)
    writer.close()
    return path


def datago(size: int) -> Batches:
    """datago's threads in Rust, which read and decode files; samples arrive one by one."""
    os.environ["DATAGO_MAX_TASKS"] = str(WORKERS)
    from datago import DatagoClient, initialize_logging

    initialize_logging("error")
    files = {"root_path": str(photos.image_folder(size)), "random_sampling": True, "rank": 0, "world_size": 1}
    client = DatagoClient(json.dumps({"source_type": "file", "source_config": files, "limit": 10**9,
                                      "prefetch_buffer_size": 4 * BATCH, "samples_buffer_size": 4 * BATCH}))
    endless = _passes(client)
    try:
        while True:
            samples = np.stack([sample.image.to_numpy_array() for sample in itertools.islice(endless, BATCH)])
            yield torch.from_numpy(samples).permute(0, 3, 1, 2)
    finally:
        client.stop()


def _passes(client) -> Iterator:
    while True:
        client.start()
        yield from iter(client.get_sample, None)


def torchcodec(size: int) -> Batches:
    """torchcodec's JPEG decoder in the workers of PyTorch's DataLoader."""
    loader = DataLoader(_Decoded(size), BATCH, shuffle=True, num_workers=WORKERS, drop_last=True,
                        multiprocessing_context=_FORK)
    while True:
        yield from loader


class _Decoded(Dataset):
    def __init__(self, size: int) -> None:
        self.paths = _paths(size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> Tensor:
        from torchcodec.decoders import decode_jpeg

        return decode_jpeg(self.paths[at])


def _paths(size: int) -> list[str]:
    return sorted(str(path) for path in photos.image_folder(size).rglob("*.jpg"))


def _shuffled(paths: list[str]) -> Iterator[str]:
    shuffler = random.Random(0)
    while True:
        yield from shuffler.sample(paths, len(paths))


def _batches(paths: Iterator[str]) -> Iterator[list[str]]:
    while True:
        yield list(itertools.islice(paths, BATCH))
