"""Model FLOPs utilisation (MFU): the fraction of the device's peak FLOP/s that the updates achieve."""

import contextlib
import time
from collections.abc import Iterator

import torch
from torch import nn

from scalegan.engines.precision import DTYPES
from scalegan.support.flops import FlopCounter

_CHANNELS = 128


class Utilisation:
    """Relates the operations of this rank's updates to the peak of its device.

    Args:
        peak: operations per second, see `peak_flops`; None counts nothing.

    Attributes:
        of_phases: floating point operations per update, by phase; counted at a phase's first update unless already
            set.
    """

    def __init__(self, peak: float | None) -> None:
        self.peak, self._done = peak, 0
        self.of_phases: dict[str, int] = {}

    @contextlib.contextmanager
    def update(self, phase: str) -> Iterator[None]:
        """Wraps each update of a phase."""
        if self.peak is None or phase in self.of_phases:
            yield
        else:
            with FlopCounter() as counter:
                yield
            self.of_phases[phase] = counter.flops
        self._done += self.of_phases.get(phase, 0)

    def take_seconds(self) -> float | None:
        """Seconds that the updates since the last call would have taken at peak speed; None if not counted."""
        done, self._done = self._done, 0
        return None if self.peak is None else done / self.peak


@torch.no_grad()
def peak_flops(device: torch.device, precision: str) -> float:
    """Operations per second of a 3x3 convolution, 128 channels, channels_last, in this precision: the best of five.

    Takes a fraction of a second and leaves the global random state alone.
    """
    samples, pixels = (128, 64) if device.type == "cuda" else (8, 32)
    dtype = DTYPES[precision]
    draw = torch.Generator(device).manual_seed(0)

    def filled(*shape: int) -> torch.Tensor:
        values = torch.empty(shape, device=device).normal_(generator=draw)
        return values.to(dtype).contiguous(memory_format=torch.channels_last)

    x, w = filled(samples, _CHANNELS, pixels, pixels), filled(_CHANNELS, _CHANNELS, 3, 3)
    times = []
    for _ in range(6):
        _wait_for(device)
        begun = time.perf_counter()
        nn.functional.conv2d(x, w, padding=1)
        _wait_for(device)
        times.append(time.perf_counter() - begun)
    return 2 * samples * pixels**2 * w.numel() / min(times[1:])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
