"""Rolls back to the last good checkpoint, with other draws and smaller steps, when updates keep being skipped.

A rollback raises the run's `attempt`, which is part of every draw's key. `rollbacks.json` in the run folder records
which attempt continues from which checkpoint, so that a run killed right after a rollback resumes with that attempt.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict

from scalegan.checkpoints.listing import complete
from scalegan.checkpoints.store import Checkpoints, discard, metadata_of, verify
from scalegan.config import Health
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.errors import Diverged, UserError
from scalegan.support.files import write_whole
from scalegan.support.reading import DamagedFile, read_json

_Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
_Row = TypedDict("_Row", {"from": _Count, "to": _Count, "attempt": _Count})
_GPU_ITERATIONS = 16  # between reads of the counters on a GPU, as each read waits for the device


class Rollbacks:
    """Decides when a run rolls back and to which checkpoint, and records it.

    Args:
        folder: the run folder.
        settings: the recipe's `health`.
    """

    def __init__(self, folder: Path, ranks: Ranks, checkpoints: Checkpoints, settings: Health) -> None:
        self.path, self.ranks, self.checkpoints, self.settings = folder / "rollbacks.json", ranks, checkpoints, settings

    def due(self, in_a_row: Tensor, iterations: int) -> bool:
        """Whether enough updates in a row were skipped. Equal on all ranks, as the counter is."""
        read = self.ranks.device.type == "cpu" or iterations % _GPU_ITERATIONS == 0
        return read and bool(self.settings.rollback_after) and int(in_a_row) >= self.settings.rollback_after

    def go_back(self, images: int, attempt: int) -> Path:
        """Removes all checkpoints after the last good one and returns that, for `attempt` + 1 to continue from.

        Raises:
            Diverged: on all ranks, if there is no good checkpoint, or there have been too many rollbacks.
        """
        self.checkpoints.finish()
        target = self.ranks.broadcast(self._last_good() if self.ranks.is_main else None)
        if target is None:
            raise Diverged(f"{_diverged_at(images)}, and there is no good checkpoint to go back to. {_ADVICE}; "
                           "set checkpoint.every_images")
        if attempt >= self.settings.max_rollbacks:
            raise Diverged(f"{_diverged_at(images)}, after {attempt} rollbacks (health.max_rollbacks). {_ADVICE}")
        if self.ranks.is_main:
            for newer in complete(target.parent):
                if int(newer.name) > int(target.name):
                    discard(newer)
            self._record({"from": images, "to": int(target.name), "attempt": attempt + 1})
        self.ranks.barrier()
        return target

    def attempt_at(self, images: int) -> int:
        """The attempt that continues from the checkpoint at `images`, if a rollback went there; else 0."""
        rows = self.ranks.on_main(self._rows)
        return max((row["attempt"] for row in rows if row["to"] == images), default=0)

    def remove_after(self, images: int) -> None:
        """Forgets rollbacks to checkpoints after `images`, which are on an abandoned branch."""
        rows = self._rows()
        kept = [row for row in rows if row["to"] <= images]
        if kept != rows:
            self._write(kept)

    def _last_good(self) -> Path | None:
        """The newest undamaged checkpoint that was good when it was saved, or that the user named in `resume`."""
        return next((path for path in reversed(complete(self.checkpoints.folder)) if verify(path) is None
                     and (metadata_of(path).get("good") or path == self.checkpoints.named)), None)

    def _rows(self) -> list[dict[str, int]]:
        try:
            return read_json(self.path, list[_Row])
        except FileNotFoundError:
            return []
        except DamagedFile as error:
            raise UserError(f"{error}; delete it to resume as if the run had never rolled back") from error

    def _record(self, row: dict[str, int]) -> None:
        self._write([*self._rows(), row])

    def _write(self, rows: list[dict[str, int]]) -> None:
        write_whole(self.path, json.dumps(rows, indent=1))


def finite(tensors: Iterable[Tensor | Partitioned]) -> bool:
    """Whether all floating-point elements that this rank holds are finite; waits for the device once."""
    here = [t.part if isinstance(t, Partitioned) else t for t in tensors]
    floats = [t for t in here if t.is_floating_point() and t.numel()]
    if not floats:
        return True
    largest = torch._foreach_norm(floats, float("inf"))
    return bool(torch.stack([norm.isfinite() for norm in largest]).all())


_ADVICE = ("Try smaller learning rates (optimizer.<player>.lr, or health.lr_factor=0.5 for attempts after the first), "
           "precision=fp32, or a stronger penalty (game.penalties)")


def _diverged_at(images: int) -> str:
    return f"training diverged at {images:,} images: losses or gradients are not finite"
