"""Model FLOPs utilisation (MFU): the fraction of the device's peak FLOP/s that the updates achieve."""

import contextlib
import time
from collections.abc import Iterator

import torch
from torch import nn

from scalegan.engines.precision import DTYPES
from scalegan.support.flops import FlopCounter

_CHANNELS = 128


def _peaks(half: float, tf32: float, single: float) -> dict[str, float]:
    return {"bf16": half, "fp16": half, "tf32": tf32, "fp32": single}


# By a part of the device's name; without sparsity, at the full power limit.
_DATA_SHEETS = {
    "H100 80GB HBM3": _peaks(989e12, 494e12, 67e12), "H200": _peaks(989e12, 494e12, 67e12),
    "H100 PCIe": _peaks(756e12, 378e12, 51e12), "A100": _peaks(312e12, 156e12, 19.5e12),
    "V100": {"fp16": 125e12, "fp32": 15.7e12},
}


class Utilisation:
    """Relates the operations of this rank's updates to the peak of its device.

    Args:
        peak: operations per second, see `peak_flops`; None counts nothing.
        promised: those of the device's data sheet, where they are known, see `data_sheet_flops`.

    Attributes:
        of_phases: floating point operations per update, by phase; counted at a phase's first update unless already
            set.
    """

    def __init__(self, peak: float | None, promised: float | None = None) -> None:
        self.peak, self.promised, self._done = peak, promised, 0
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

    def take_seconds(self) -> dict[str, float]:
        """Seconds that the updates since the last call would have taken at the measured and at the promised peak, by
        the name of the figure that they give: `mfu`, `mfu_of_data_sheet`. Empty if nothing is counted."""
        done, self._done = self._done, 0
        if self.peak is None:
            return {}
        return {"mfu": done / self.peak} | ({"mfu_of_data_sheet": done / self.promised} if self.promised else {})


def data_sheet_flops(device: torch.device, precision: str) -> float | None:
    """Dense operations per second that a GPU's data sheet promises; fp32 as TF32 where convolutions may use that."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peaks = next((peaks for part, peaks in _DATA_SHEETS.items() if part in name), {})
    tf32 = precision == "fp32" and torch.backends.cudnn.allow_tf32
    return peaks.get("tf32" if tf32 and "tf32" in peaks else precision)


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
