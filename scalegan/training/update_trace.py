"""A profiler trace of a few updates, on request (`log.profile_updates`)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

WARM_UP = 4                                             # untraced updates: they allocate, choose kernels, compile
_ROWS = 20


class UpdateTrace:
    """Traces updates after the first few since the start or resume, with everything in between.

    Writes `profile/<images>.json`, for chrome://tracing or ui.perfetto.dev, and beside it `<images>.txt`, the operators
    with the most time of their own; `<images>` were taken before the first traced update.

    Args:
        folder: the run folder.
        updates: how many to trace, of any phase; 0 for none.
    """

    def __init__(self, folder: Path, updates: int) -> None:
        self.folder, self._from, self._until = folder / "profile", WARM_UP, WARM_UP + updates
        self._seen, self._profiler, self._name = 0, None, ""

    @contextlib.contextmanager
    def update(self, phase: str, images: int) -> Iterator[None]:
        """Wraps each update; `images` were taken before it."""
        if self._seen == self._until:
            yield
            return
        if self._seen == self._from:
            self._begin(images)
        with record_function(f"update of {phase}") if self._profiler else contextlib.nullcontext():
            yield
        self._seen += 1
        if self._seen == self._until:
            self.close()

    def close(self) -> None:
        """Writes what was traced; to be called at the end of the run."""
        if self._profiler is None:
            return
        self._profiler.stop()
        self.folder.mkdir(exist_ok=True)
        self._profiler.export_chrome_trace(str(self.folder / f"{self._name}.json"))
        found = self._profiler.key_averages()
        key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        (self.folder / f"{self._name}.txt").write_text(
            found.table(sort_by=key, row_limit=_ROWS, max_name_column_width=50))
        self._profiler = None

    def _begin(self, images: int) -> None:
        cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self._name = f"{images:012d}"
        self._profiler = profile(activities=[ProfilerActivity.CPU, *cuda], record_shapes=True)
        self._profiler.start()
