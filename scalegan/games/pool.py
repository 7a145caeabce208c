"""A pool of past fakes (Shrivastava et al., 2017, section 2.3; Zhu et al., 2017, section 4)."""

import torch
from torch import Tensor

from scalegan.games.base import Batch
from scalegan.models.layers.tracked import Tracked

_KEEP, _SWAP = -1, 0.5


class Pool(Tracked):
    """Shows D fakes of the past among those of today.

    Until it is full every fake goes in and is shown itself. Then each fake is, by a draw of one half, shown itself, or
    takes the place of one from the pool, which is shown instead. Places are those that were filled before the update,
    so that a sample's fate depends on its own draws and its place in the global batch alone; of two fakes that take the
    same place the later one stays. What goes in is committed once the update was made, on all ranks alike.

    Args:
        size: places, over all lanes; 0 shows every fake itself.
        shape: of a fake, such as [C, H, W].
        batch_size: global.
    """

    def __init__(self, size: int, shape: tuple[int, ...], batch_size: int) -> None:
        super().__init__()
        self.size, self.batch_size = size, batch_size
        self.register_buffer("fakes", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def exchange(self, batch: Batch, fakes: Tensor, name: str = "pool") -> Tensor:
        """Fakes [n, ...] of a micro-batch to those that D is to see, without a gradient.

        Once for each micro-batch.

        Args:
            batch: whose draws decide.
            name: of the draws, where a loss asks several pools.
        """
        fakes = fakes.detach()
        if not self.size:
            return fakes
        places = self.filled + batch.draws.positions % self.batch_size
        stored = self.filled.clamp(min=1)
        swaps = (batch.draws.uniform(f"{name}/swap") < _SWAP) & (places >= self.size) & (self.filled > 0)
        chosen = (batch.draws.uniform(f"{name}/place") * stored).long().clamp(max=self.size - 1)
        into = torch.where(places < self.size, places, torch.where(swaps, chosen, _KEEP))
        self.keep(fakes=fakes.to(self.fakes.dtype), into=into)
        old = self.fakes[chosen].to(fakes.dtype)
        return torch.where(swaps.view(-1, *[1] * (fakes.dim() - 1)), old, fakes)

    def advance(self) -> None:
        """Its state moves in `commit`."""

    @torch.no_grad()
    def commit(self, fakes: Tensor, into: Tensor) -> None:
        taken = into >= 0
        # Of several for one place the last: its number is the largest that names the place.
        order = torch.arange(len(into), device=into.device)
        last = torch.full((self.size,), -1, device=into.device).scatter_reduce(
            0, into.clamp(min=0), torch.where(taken, order, -1), "amax")
        changed = (last >= 0).view(-1, *[1] * (fakes.dim() - 1))
        self.fakes.copy_(torch.where(changed, fakes[last.clamp(min=0)], self.fakes))
        self.filled.copy_((self.filled + self.batch_size).clamp(max=self.size))
