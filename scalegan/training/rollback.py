"""Going back to the last good checkpoint when updates keep being skipped, with other draws and smaller steps.

A rollback raises the run's `attempt`, which is part of every draw's key. `rollbacks.json` in the run folder says which
attempt goes on from which checkpoint, so that a run killed right after a rollback goes on as if it had not been.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalegan.checkpoints.store import Checkpoints, complete, discard, metadata_of, verify
from scalegan.config import Health
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.errors import Diverged, UserError
from scalegan.support.files import write_whole

_GPU_ITERATIONS = 16  # between two looks at the counters on a GPU: a look waits until the device has caught up


class Rollbacks:
    """When a run goes back, whereto, and how often it has.

    Args:
        folder: the run's.
        settings: the recipe's `health`.
    """

    def __init__(self, folder: Path, ranks: Ranks, checkpoints: Checkpoints, settings: Health) -> None:
        self.path, self.ranks, self.checkpoints, self.settings = folder / "rollbacks.json", ranks, checkpoints, settings

    def due(self, in_a_row: Tensor, iterations: int) -> bool:
        """Whether enough updates in a row were skipped. The same on every rank, as the counter is."""
        look = self.ranks.device.type == "cpu" or iterations % _GPU_ITERATIONS == 0
        return look and bool(self.settings.rollback_after) and int(in_a_row) >= self.settings.rollback_after

    def go_back(self, images: int, attempt: int) -> Path:
        """The last good checkpoint, from which `attempt` + 1 now goes on; what is newer is removed.

        Raises:
            Diverged: where there is none, or there have been too many rollbacks; on all ranks.
        """
        self.checkpoints.finish()
        target = self.ranks.share(self._last_good() if self.ranks.first else None)
        if target is None:
            raise Diverged(f"{_complaint(images)}, and there is no good checkpoint to go back to. {_ADVICE}; "
                           "set checkpoint.every_images")
        if attempt >= self.settings.max_rollbacks:
            raise Diverged(f"{_complaint(images)}, after {attempt} rollbacks (health.max_rollbacks). {_ADVICE}")
        if self.ranks.first:
            for newer in complete(target.parent):
                if newer.name > target.name:
                    discard(newer)
            self._record({"from": images, "to": int(target.name), "attempt": attempt + 1})
        self.ranks.wait()
        return target

    def attempt_at(self, images: int) -> int:
        """The attempt that goes on from the checkpoint at so many images, where a rollback ended there; else 0."""
        rows = self.ranks.share(self.ranks.together(lambda: self._rows() if self.ranks.first else None))
        return max((row["attempt"] for row in rows if row["to"] == images), default=0)

    def _last_good(self) -> Path | None:
        return next((path for path in reversed(complete(self.checkpoints.folder))
                     if verify(path) is None and metadata_of(path).get("good")), None)

    def _rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {self.path}: {error}; without it the run goes on as if it had never gone "
                            "back") from error

    def _record(self, row: dict[str, int]) -> None:
        write_whole(self.path, json.dumps([*self._rows(), row], indent=1))


def finite(tensors: Iterable[Tensor | Partitioned]) -> bool:
    """Whether every element that this rank holds of floating-point tensors is finite; waits for the device once."""
    here = [t.part if isinstance(t, Partitioned) else t for t in tensors]
    floats = [t for t in here if t.is_floating_point() and t.numel()]
    if not floats:
        return True
    largest = torch._foreach_norm(floats, float("inf"))
    return bool(torch.stack([norm.isfinite() for norm in largest]).all())


_ADVICE = ("Try smaller learning rates (optimizer.<player>.lr, or health.lr_factor=0.5 for attempts after the first), "
           "precision=fp32, or a stronger penalty (game.penalties)")


def _complaint(images: int) -> str:
    return f"training diverged at {images:,} images: losses or gradients are not finite"
