"""Data-parallel training: every rank holds all weights; gradients are summed over micro-batches and ranks.

torch's DistributedDataParallel is not used: it does not synchronise backward passes of a penalty alone and rebuilds its
buckets after the first step, which makes a resumed run differ. One vector per update does the same work, and also
carries the observations of tracked modules and the terms of the loss.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scalegan.engines import reduction
from scalegan.engines.base import Engine, Outputs, norm_of
from scalegan.engines.graphs import Graphs
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase


class DDPEngine(Engine):
    """Keeps all weights and all optimizer state on every rank.

    Args:
        tree: sum micro-batches in a fixed binary tree, for the same bits on 1, 2, 4, ... ranks.
        graphs: replays forward and backward passes instead of running them; not where a norm group spans ranks.
    """

    def __init__(self, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks, micro_batch: int,
                 precision: str = "fp32", tree: bool = False, graphs: Graphs | None = None) -> None:
        super().__init__(game, optimizers, ranks, micro_batch, precision)
        self.tree = tree
        self._graphs = None if any(getattr(m, "spanning", None) for m in game.modules()) else graphs

    def _accumulate(self, phase: Phase, batch: Batch) -> Outputs:
        moving = [parameter for player in phase.players for parameter in self._parameters[player]]
        means = self._summed(phase, batch, moving)
        parts = self._num_micro_batches(batch) * self.ranks.world_size
        if parts > 1:
            torch._foreach_mul_(list(means.values()), 1 / parts)
        gradients = [means.pop(("gradient", index)) for index in range(len(moving))]
        if self.scales:
            torch._foreach_mul_(gradients, 1 / self.scales[phase.name].scale)
        for parameter, gradient in zip(moving, gradients):
            parameter.grad = gradient
        for player in self._movers(phase):
            means["norm", player] = norm_of(self._own_gradients(player))
        return means

    def _own_gradients(self, player: str) -> list[Tensor]:
        return [parameter.grad for parameter in self._parameters[player]]

    def _step(self, player: str) -> None:
        self.optimizers[player].step()
        self.optimizers[player].zero_grad(set_to_none=True)

    def _take_gradients(self, player: str) -> list[Tensor]:
        found = self._own_gradients(player)
        self.optimizers[player].zero_grad(set_to_none=True)
        return found

    def _summed(self, phase: Phase, batch: Batch, moving: list[nn.Parameter]) -> Outputs:
        """Gradients, observations and terms, summed over all micro-batches of all ranks."""
        outputs: Outputs = {}

        def vector(index: int) -> Tensor:
            outputs.update(self._pass(phase, self._micro_batch_at(batch, index), moving))
            values = list(outputs.values())
            return torch.cat([_in_memory_order(value).to(values[0].dtype) for value in values])

        count = self._num_micro_batches(batch)
        if self.ranks.world_size == 1 and count == 1:
            return self._pass(phase, batch, moving)
        total = reduction.local_tree(vector, 0, count)
        if self.tree:
            total = reduction.tree_over_ranks(total, self.ranks.rank, self.ranks.world_size)
        else:
            total = reduction.fast(total, self.ranks.world_size)
        sizes, count = [value.numel() for value in outputs.values()], len(moving)
        gradients, others = total.split([sum(sizes[:count]), sum(sizes[count:])])
        # A view of an observation or a figure would keep all gradients alive for as long as it is held.
        pieces = [*gradients.split(sizes[:count]), *others.clone().split(sizes[count:])]
        return {key: _view_like(piece, value) for (key, value), piece in zip(outputs.items(), pieces)}

    def _pass(self, phase: Phase, batch: Batch, moving: list[nn.Parameter]) -> Outputs:
        """What `_differentiated` returns, by a graph if there is one."""
        def run_pass(part: Batch) -> Outputs:
            return self._differentiated(phase, part, moving)

        if self._graphs is None:
            return run_pass(batch)
        found = self._graphs.run(phase.name, run_pass, batch)
        if self._kept:      # samples that a pool takes over from this very pass
            self._graphs.leave_out(phase.name)
        return found

    def _differentiated(self, phase: Phase, batch: Batch, moving: list[nn.Parameter]) -> Outputs:
        """A micro-batch's gradients, observations, terms and figures."""
        for parameter in moving:
            parameter.grad = None
        total, outputs = self._forward(phase, batch)
        total.backward(inputs=moving)       # images that a penalty differentiated need no gradient again
        gradients: Outputs = {("gradient", i): torch.zeros_like(p) if p.grad is None else p.grad
                              for i, p in enumerate(moving)}
        return gradients | outputs


def _in_memory_order(tensor: Tensor) -> Tensor:
    """All elements [n] in memory order, so that nothing is copied."""
    return tensor.permute(_axes_by_stride(tensor)).reshape(-1)


def _view_like(elements: Tensor, like: Tensor) -> Tensor:
    """Undoes `_in_memory_order`: a view with the layout of `like`, as fused optimizers need equal layouts."""
    order = _axes_by_stride(like)
    stored = elements.to(like.dtype).view([like.shape[axis] for axis in order])
    return stored.permute([order.index(axis) for axis in range(like.dim())])


def _axes_by_stride(tensor: Tensor) -> list[int]:
    return sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
