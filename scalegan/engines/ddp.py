"""Data-parallel training: every rank holds all weights, gradients are summed over grains and ranks.

torch's DistributedDataParallel is not used: it leaves penalty-only backwards unsynchronised and rebuilds its buckets
after the first step, which makes a resumed run differ. One vector per update does the same work, and carries what
tracked modules observed and the terms of the loss along.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalegan.engines import reduction
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.tracked import Tracked, tracked_modules

# What a grain gives, by ("gradient", index), ("observed", index of module, name) or ("term", name).
Outputs = dict[tuple, Tensor]
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DDPEngine:
    """Runs the updates of a game's phases, on one rank or many.

    Args:
        game: on the ranks' device already.
        optimizers: one per player.
        ranks: this process and its peers.
        grain: samples per forward and backward; divides a rank's share of the batch.
        precision: fp32, bf16 or fp16 autocast; fp16 keeps one GradScaler per player.
        tree: sum grains in a fixed binary tree, for the same bits on 1, 2, 4, ... ranks.
    """

    def __init__(self, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks, grain: int,
                 precision: str = "fp32", tree: bool = False) -> None:
        self.game, self.optimizers, self.ranks = game, optimizers, ranks
        self.grain, self.precision, self.tree = grain, precision, tree
        self.device = ranks.device
        self.scalers = {name: torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
                        for name in game.players}
        self._parameters = {name: list(player.parameters()) for name, player in game.players.items()}
        self._tracked = {phase.players: self._tracked_by(phase.players) for phase in game.phases}
        _span_norm_groups(game, ranks, grain)

    def update(self, phase: Phase, batch: Batch) -> dict[str, Tensor]:
        """One update of the phase's players from this rank's share of the batch.

        Returns the means of the loss's terms and figures over the global batch, as tensors on the device.
        """
        moving = [parameter for player in phase.players for parameter in self._parameters[player]]
        with self._only(phase.players):
            means = self._summed(phase, batch, moving)
        torch._foreach_mul_(list(means.values()), 1 / (len(batch) // self.grain * self.ranks.world))
        for index, parameter in enumerate(moving):
            parameter.grad = means["gradient", index]
        self._step(phase)
        for index, module in enumerate(self._tracked[phase.players]):
            observed = {name: means["observed", index, name] for name in module.statistics
                        if ("observed", index, name) in means}
            if len(observed) == len(module.statistics):  # it took part; one that observes nothing always advances
                module.advance(**observed)
        return {key[1]: value for key, value in means.items() if key[0] == "term"}

    def scales(self) -> dict[str, dict]:
        """The state of every player's GradScaler; empty but with fp16."""
        return {name: scaler.state_dict() for name, scaler in self.scalers.items() if scaler.is_enabled()}

    def restore_scales(self, scales: Mapping[str, dict]) -> None:
        for name, state in scales.items():
            if self.scalers[name].is_enabled():
                self.scalers[name].load_state_dict(state)

    def _summed(self, phase: Phase, batch: Batch, moving: list[nn.Parameter]) -> Outputs:
        """Gradients, observations and terms, summed over all grains of all ranks."""
        outputs: Outputs = {}

        def vector(index: int) -> Tensor:
            outputs.update(self._grain(phase, batch[self._slice(index)], moving))
            values = list(outputs.values())
            return torch.cat([value.reshape(-1).to(values[0].dtype) for value in values])

        count = len(batch) // self.grain
        if self.ranks.world == 1 and count == 1:
            return self._grain(phase, batch, moving)
        total = reduction.local_tree(vector, 0, count)
        if self.tree:
            total = reduction.tree_over_ranks(total, self.ranks.rank, self.ranks.world)
        else:
            total = reduction.fast(total, self.ranks.world)
        pieces = total.split([value.numel() for value in outputs.values()])
        # A gradient takes its parameter's memory layout: fused optimizers walk both in parallel.
        return {key: torch.empty_like(value).copy_(piece.view(value.shape))
                for (key, value), piece in zip(outputs.items(), pieces)}

    def _slice(self, index: int) -> slice:
        return slice(index * self.grain, (index + 1) * self.grain)

    def _grain(self, phase: Phase, batch: Batch, moving: list[nn.Parameter]) -> Outputs:
        """One forward and backward: gradients, what the movers' modules observed, terms and figures."""
        for parameter in moving:
            parameter.grad = None
        for module in tracked_modules(self.game):
            module.drain()
        with self._autocast():
            terms = phase.loss(batch)
            total = torch.stack([term.to(_wide(term)) for term in terms.values()]).sum()
        self.scalers[phase.players[0]].scale(total).backward()
        outputs: Outputs = {("gradient", i): torch.zeros_like(p) if p.grad is None else p.grad
                            for i, p in enumerate(moving)}
        for index, module in enumerate(self._tracked[phase.players]):
            outputs |= {("observed", index, name): value for name, value in module.drain().items()}
        return outputs | {("term", name): value.detach() for name, value in {**terms, **batch.figures}.items()}

    def _step(self, phase: Phase) -> None:
        scaler = self.scalers[phase.players[0]]
        for player in phase.players:
            scaler.step(self.optimizers[player])
            self.optimizers[player].zero_grad(set_to_none=True)
        scaler.update()

    def _tracked_by(self, players: tuple[str, ...]) -> list[Tracked]:
        """The modules whose state advances with these players: their own, and those of nobody, such as a penalty's."""
        moving = [m for player in players for m in tracked_modules(self.game.players[player])]
        owned = {id(m) for player in self.game.players.values() for m in tracked_modules(player)}
        return moving + [m for m in tracked_modules(self.game) if id(m) not in owned]

    @contextlib.contextmanager
    def _only(self, players: tuple[str, ...]) -> Iterator[None]:
        """Freezes everyone but `players`: no gradient is computed, or kept, for those who do not move."""
        still = [p for name, parameters in self._parameters.items() if name not in players for p in parameters]
        for parameter in still:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad_(True)

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, _AUTOCAST[self.precision])


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose backward is itself, and so is differentiable any number of times."""

    @staticmethod
    def forward(ctx: object, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = value.detach().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return _SumOverRanks.apply(gradient, ctx.group), None


def _span_norm_groups(game: Game, ranks: Ranks, grain: int) -> None:
    """Where a norm group is larger than what a rank holds, lets neighbouring ranks share it."""
    norms = [m for m in game.modules() if isinstance(m, GroupedBatchNorm)]
    batch = grain * ranks.world
    sizes = {batch if m.norm_group == "batch" else m.norm_group for m in norms}
    groups: dict[int, dist.ProcessGroup] = {}
    for size in sorted(s for s in sizes if s > grain and ranks.world > 1):
        count = size // grain
        for first in range(0, ranks.world, count):  # every rank takes part in making every group
            members = list(range(first, first + count))
            group = dist.new_group(members)
            if ranks.rank in members:
                groups[size] = group
    for norm in norms:
        size = batch if norm.norm_group == "batch" else norm.norm_group
        if size in groups:
            norm.spanned_ranks = size // grain
            norm.spanning = lambda value, group=groups[size]: _SumOverRanks.apply(value, group)
