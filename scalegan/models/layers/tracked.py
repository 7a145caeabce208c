"""State that the optimizers do not own: running statistics, spectral norm's u, w_avg, ADA's p."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Tracked(nn.Module):
    """A module whose buffers advance once per *update*, from means over the whole global batch.

    A forward changes no buffer: otherwise 4 micro-batches of 16 samples would not train the same network as 1 of 64,
    nor 2 ranks the same as 1. A forward in training mode only *observes*; the engine reduces what was observed together
    with the gradients, and then calls `advance` with the means, equal on all ranks.
    """

    #: Shape of each thing observed, by name; set in __init__.
    statistics: dict[str, tuple[int, ...]]
    #: Whether `advance` reads weights, which engines that partition them then gather.
    reads_weights: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.statistics = {}
        self._observed: dict[str, list[Tensor]] = {}
        self._kept: dict[str, Tensor] = {}

    def observe(self, **values: Tensor) -> None:
        """Records the mean of each value over this forward's samples."""
        if NothingObserved.depth:
            return
        for name, value in values.items():
            half = value.dtype in (torch.float16, torch.bfloat16)
            self._observed.setdefault(name, []).append(value.detach().float() if half else value.detach())

    def drain(self) -> dict[str, Tensor]:
        """What was observed since the last call, averaged over the forwards; empty if nothing was."""
        return {name: (torch.stack(seen).mean(0) if len(seen) > 1 else seen[0].clone()).reshape(self.statistics[name])
                for name, seen in self.take().items()}

    def keep(self, **samples: Tensor) -> None:
        """Records tensors [n, ...] with a row for each sample of this micro-batch; after the update, the engine passes
        those of the whole global batch, in its order, to `commit`.

        Raises:
            RuntimeError: on a second call for the same micro-batch.
        """
        if not NothingObserved.depth:
            if self._kept:
                raise RuntimeError(f"{type(self).__name__} was called twice for one micro-batch; use two of them")
            self._kept = {name: value.detach() for name, value in samples.items()}

    def drain_kept(self) -> dict[str, Tensor]:
        """What was kept since the last call."""
        kept, self._kept = self._kept, {}
        return kept

    def take(self) -> dict[str, list[Tensor]]:
        """Returns what was observed and clears it; `put_first` restores it."""
        seen, self._observed = self._observed, {}
        return seen

    def put_first(self, seen: dict[str, list[Tensor]]) -> None:
        """Restores what `take` returned, before what was observed since."""
        self._observed = {name: seen.get(name, []) + self._observed.get(name, []) for name in seen | self._observed}

    @torch.no_grad()
    def advance(self, **means: Tensor) -> None:
        """Advances the buffers by one update of the player they belong to."""
        raise TypeError(f"{type(self).__name__} must implement advance()")

    @torch.no_grad()
    def commit(self, **samples: Tensor) -> None:
        """Updates the buffers from what was kept of the global batch, [batch, ...] each; equal on all ranks."""
        raise TypeError(f"{type(self).__name__} must implement commit()")


class NothingObserved:
    """A reentrant context in which forwards observe nothing, because they repeat one that was already observed.

    Not per thread: on a GPU, the backward pass repeats forwards in a thread of its own, while the caller's waits.
    """

    depth = 0

    def __enter__(self) -> None:
        NothingObserved.depth += 1

    def __exit__(self, *error: object) -> None:
        NothingObserved.depth -= 1


def tracked_modules(module: nn.Module) -> Iterator[Tracked]:
    """Every tracked module inside `module`, in a fixed order."""
    return (m for m in module.modules() if isinstance(m, Tracked))
