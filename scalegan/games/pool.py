"""A pool of past fakes (Shrivastava et al., 2017, section 2.3; Zhu et al., 2017, section 4)."""

import torch
from torch import Tensor

from scalegan.games.base import Batch
from scalegan.models.layers.tracked import Tracked

_KEEP, _SWAP = -1, 0.5


class Pool(Tracked):
    """Mixes past fakes into those that D sees.

    Until the pool is full, every fake is stored and also returned unchanged. After that, each fake is returned
    unchanged with probability 1/2; otherwise it replaces a stored fake, which is returned instead. Swaps use the pool
    as it was before the update, so a sample's outcome depends only on its own draws and its position in the global
    batch; if two fakes go to the same slot, the later one stays. New fakes are committed after the update, identically
    on all ranks.

    Args:
        size: number of fakes it holds, over all lanes; 0 disables the pool.
        shape: shape of a fake, such as [C, H, W].
        batch_size: global batch size.
    """

    def __init__(self, size: int, shape: tuple[int, ...], batch_size: int) -> None:
        super().__init__()
        self.size, self.batch_size = size, batch_size
        self.register_buffer("fakes", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def exchange(self, batch: Batch, fakes: Tensor, name: str = "pool") -> Tensor:
        """Exchanges a micro-batch's fakes [n, ...] for those that D is to see, detached.

        Call it once per micro-batch.

        Args:
            batch: the micro-batch, whose draws decide.
            name: prefix of the draws' names, for a loss that uses several pools.
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
        """Does nothing; `commit` updates the state."""

    @torch.no_grad()
    def commit(self, fakes: Tensor, into: Tensor) -> None:
        taken = into >= 0
        # If several fakes go to one slot, the last wins: the largest index that names the slot.
        order = torch.arange(len(into), device=into.device)
        last = torch.full((self.size,), -1, device=into.device).scatter_reduce(
            0, into.clamp(min=0), torch.where(taken, order, -1), "amax")
        changed = (last >= 0).view(-1, *[1] * (fakes.dim() - 1))
        self.fakes.copy_(torch.where(changed, fakes[last.clamp(min=0)], self.fakes))
        self.filled.copy_((self.filled + self.batch_size).clamp(max=self.size))
