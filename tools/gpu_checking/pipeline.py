"""What stands around the steps: loading to the GPU, the loop itself, checkpoints, evaluations."""

import os
import time
from pathlib import Path

import numpy as np
import torch

from scalegan.checkpoints.store import Checkpoints
from scalegan.data.reading.order import Order
from scalegan.data.reading.record_reader import OrderedReader
from scalegan.data.reading.stream import Stream
from scalegan.data.reading.webdataset import WebDatasetReader
from scalegan.engines.ranks import Ranks
from scalegan.metrics import extractors
from scalegan.metrics.features import collect
from scalegan.metrics.images import open_images
from scalegan.training.batch_loader import BatchLoader, StreamSettings
from tools.gpu_checking.check import Check, device, wait
from tools.gpu_checking.stepping import Stepper
from tools.gpu_checking.steps import cases_of, keys_of

_LANES = 8


def loader(check: Check) -> None:
    """Prepared shards to scaled images on the device, by worker processes; nothing else uses the machine."""
    there = device()
    for size, folder in check.shards.items():
        for workers in (0, 2) if check.small else (2, 4, 8, 14):
            with check.attempt("loader", resolution=size, workers=workers):
                reader, batch = WebDatasetReader(folder), 16 if check.small else 64
                stream = Stream(OrderedReader(reader, Order(reader.sizes, batch, _LANES, 0)), range(_LANES), 0, workers,
                                pin=there.type == "cuda")
                batches = BatchLoader(0, 0, batch, 0, there, {"real": StreamSettings(True)})
                count, warm = (4, 1) if check.small else (100 if size > 64 else 400, 30)
                for number in range(warm + count):
                    if number == warm:
                        wait()
                        start = time.perf_counter()
                    batches.prepare({"real": stream.take()})
                wait()
                check.say("loader", resolution=size, workers=workers, batch=batch,
                          images_per_s=count * batch / (time.perf_counter() - start))
                stream.close()


def trainer(check: Check) -> None:
    """The whole trainer beside a bare loop in the same process, DCGAN-64; and beside the way it is usually written."""
    from tools.benchmarks import step

    if check.small:     # many rounds, of which tests of the benchmarks make one
        return
    for name in ("trainer_vs_bare_loop", "graphed_trainer_vs_bare_loop", "dcgan64_vs_examples"):
        with check.attempt("trainer", name=name):
            found = step.BENCHMARKS[name]()
            check.say("trainer", name=name, value=found.value, reference=found.reference_value, unit=found.unit,
                      ratio=found.ratio)


def checkpoint(check: Check) -> None:
    """How long a save holds training up, in the background and waited for: all tensors of StyleGAN2-256."""
    case = next(name for name in cases_of(check) if "stylegan2" in name)
    name, batch, more = cases_of(check)[case]
    stepper = Stepper(keys_of(name, batch, more))
    tensors = {f"game/{key}": tensor for key, tensor in stepper.game.state_dict().items()}
    tensors |= {f"ema/{key}": tensor.clone() for key, tensor in stepper.game.G.state_dict().items()}
    tensors |= stepper.engine.optimizer_state()
    saver = Checkpoints(check.scratch / "saved", Ranks(0, 1, stepper.device), 2)
    blocked, whole = [], []
    for number in range(1, 3 if check.small else 6):
        wait()
        start = time.perf_counter()
        saver.save(number, tensors, {})
        blocked.append(time.perf_counter() - start)
        saver.finish()
        whole.append(time.perf_counter() - start)
    check.say("checkpoint", case=case, gb=sum(t.nbytes for t in tensors.values()) / 1e9, blocked_ms=1e3 * min(blocked),
              first_blocked_ms=1e3 * blocked[0], whole_s=min(whole))


def evaluation(check: Check) -> None:
    """Features of images from shards, and of a generator's samples; the extractor alone beside them."""
    there, batch = device(), 8 if check.small else 64
    for name in ("efflite0",) if check.small else ("efflite0", "inception"):
        with check.attempt("evaluation", extractor=name):
            extractor = extractors.load(name, _weights(name, check.scratch), None, there)
            images = open_images(str(check.shards[max(check.sizes)]))
            numbers = np.arange(16 if check.small else 2048)
            ranks = Ranks(0, 1, there)
            collect(images, numbers[: 2 * batch], extractor, ranks, batch, keep=False)
            wait()
            start = time.perf_counter()
            collect(images, numbers, extractor, ranks, batch, keep=True)
            wait()
            rate = len(numbers) / (time.perf_counter() - start)
            side = 224 if name == "efflite0" else 299
            prepared = (torch.rand(batch, 3, side, side, device=there) * 255).contiguous(
                memory_format=torch.channels_last)
            with torch.inference_mode():
                extractor.net(prepared)
                wait()
                start = time.perf_counter()
                repeats = 1 if check.small else 20
                for _ in range(repeats):
                    extractor.net(prepared)
                wait()
            check.say("evaluation", extractor=name, resolution=max(check.sizes), batch=batch, images_per_s=rate,
                      network_alone=repeats * batch / (time.perf_counter() - start), cores=os.cpu_count())


def _weights(name: str, scratch: Path) -> Path | None:
    """Random ones for Inception: what they are costs nothing."""
    if name != "inception":
        return None
    from tools.benchmarks.metrics import _weights as made

    return made(scratch)
