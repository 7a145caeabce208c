"""The base of all engines: freezes players that do not move, runs micro-batches, skips updates that are not finite."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from scalegan.averages.averages import Averages
from scalegan.engines import reduction
from scalegan.engines.health import Health, stepping_unless, undone_where
from scalegan.engines.optimizers import CLIP_NORM
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.precision import autocast
from scalegan.engines.ranks import Ranks
from scalegan.engines.scaling import LossScale
from scalegan.engines.spanning import span_norm_groups
from scalegan.games.base import Batch, Game, Phase
from scalegan.models.layers.tracked import Tracked, tracked_modules

# Results of a micro-batch, by ("gradient", index), ("observed", index of module, name), ("term", name) or
# ("figure", name).
Outputs = dict[tuple, Tensor]


@dataclass(frozen=True)
class Pending:
    """An update whose gradients are computed but not yet applied.

    Args:
        means: of the loss's terms and figures and of observations, over the global batch.
        norms: of each moving player's gradient.
        kept: what tracked modules kept of this rank's samples, by module and name, one tensor per micro-batch.
    """

    phase: Phase
    means: Outputs
    norms: dict[str, Tensor]
    kept: dict[int, dict[str, list[Tensor]]]


class Engine(ABC):
    """Runs the updates of a game's phases, on one rank or many.

    Args:
        game: already on the ranks' device.
        optimizers: one per player.
        ranks: this process and its peers.
        micro_batch: samples per forward and backward; divides a rank's share of the batch.
        precision: fp32, bf16 or fp16 autocast; fp16 keeps one loss scale per phase.

    Attributes:
        health: counts the updates that were skipped because a loss or a gradient was not finite.
    """

    def __init__(self, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks, micro_batch: int,
                 precision: str = "fp32") -> None:
        self.game, self.optimizers, self.ranks = game, optimizers, ranks
        self.micro_batch, self.precision, self.device = micro_batch, precision, ranks.device
        self.health = Health([phase.name for phase in game.phases], self.device)
        self.scales = {p.name: LossScale(self.device) for p in game.phases} if precision == "fp16" else {}
        self._parameters = {name: [p for p in player.parameters() if p.requires_grad]
                            for name, player in game.players.items()}
        self._all_tracked = list(tracked_modules(game))
        self._tracked = {phase.players: self._tracked_by(phase.players) for phase in game.phases}
        self._kept: dict[int, dict[str, list[Tensor]]] = {}
        span_norm_groups(game, ranks, micro_batch)

    def update(self, phase: Phase, batch: Batch) -> dict[str, Tensor]:
        """One update of the phase's players from this rank's share of the batch.

        If a term of the loss or a gradient is not finite on any rank, weights, optimizers and tracked modules stay
        unchanged on every rank, and `health` counts it, without synchronising with the device.

        Returns:
            The means of the loss's terms and figures over the global batch, and the norm of each moving player's
            gradient as `grad_norm/<player>`, as tensors on the device.
        """
        return self.step(self.differentiate(phase, batch))

    def differentiate(self, phase: Phase, batch: Batch) -> Pending:
        """The first half of an update: its gradients, which the players keep until `step`. Phases of other players may
        be differentiated in between; all of them see the weights from before the step."""
        self._kept = {}
        with self._frozen_except(phase.players):
            means = self._accumulate(phase, batch)
        norms = {player: means.pop(("norm", player)) for player in self._movers(phase)}
        return Pending(phase, means, norms, self._kept)

    def step(self, pending: Pending) -> dict[str, Tensor]:
        """The second half: steps along the gradients. Returns what `update` returns."""
        phase, means, norms = pending.phase, pending.means, pending.norms
        skip = self._skips(phase, means, norms)
        for player in self._movers(phase):
            self._clip(player, norms[player])
            with stepping_unless(skip, self.optimizers[player]):
                self._step(player)
        self._advance(pending, skip)
        figures = {key[1]: value for key, value in means.items() if key[0] in ("term", "figure")}
        return figures | {f"grad_norm/{player}": norm for player, norm in norms.items()}

    def gradients(self, phase: Phase, batch: Batch) -> dict[str, Tensor]:
        """The gradients that `update` would apply, in full on every rank, as `<player>.<parameter>`; changes nothing.

        For tests and for comparing engines.
        """
        with self._frozen_except(phase.players):
            self._accumulate(phase, batch)
        found = {}
        for player in self._movers(phase):
            names = [name for name, p in self.game.players[player].named_parameters() if p.requires_grad]
            found |= {f"{player}.{name}": gradient for name, gradient in zip(names, self._take_gradients(player))}
        return found

    def optimizer_state(self) -> dict[str, Tensor | Partitioned]:
        """Every tensor of the optimizers' state, not copied, as `optimizer/<player>/<parameter>/<key>`."""
        found: dict[str, Tensor | Partitioned] = {}
        for player, optimizer in self.optimizers.items():
            for name, parameter in self.game.players[player].named_parameters():
                for key, value in optimizer.state[parameter].items():
                    found[f"optimizer/{player}/{name}/{key}"] = value
        return found

    def tensors(self) -> dict[str, Tensor | Partitioned]:
        """Every tensor of the game, not copied, as `game/<name>`."""
        return {f"game/{name}": tensor for name, tensor in self.game.state_dict().items()}

    def adopt(self, averages: Averages) -> None:    # noqa: B027 -- most engines leave them as they are
        """Partitions the moving averages, if it partitions the weights; call it once, before anything is loaded."""

    def whole(self, players: Iterable[str] = (), averages: bool = False,
              keep: bool = False) -> contextlib.AbstractContextManager[None]:
        """A context in which these players, and the averages if asked for, have all their weights on every rank, for
        use outside of phases. What is written to them may be lost, unless `keep`: then it must be the same on all
        ranks. On all ranks at once."""
        return contextlib.nullcontext()

    def state(self) -> dict[str, Any]:
        """The state saved beside tensors, as JSON: loss scales (empty except in fp16) and counters."""
        return {"scalers": {name: scale.state() for name, scale in self.scales.items()}, "health": self.health.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what any engine's `state` returned; call it after the tensors have been loaded."""
        for phase in self.game.phases if self.scales else ():
            known = state["scalers"].get(phase.name) or state["scalers"].get(phase.players[0])  # format 1: by player
            if known:
                self.scales[phase.name].restore(known)
        self.health.restore(state.get("health", {}))

    @abstractmethod
    def _accumulate(self, phase: Phase, batch: Batch) -> Outputs:
        """Runs all micro-batches, and leaves the moving players' mean gradients, unscaled, where `_step` finds them.

        Returns the means over all ranks of observations, terms and figures, and gradient norms as ("norm", player).
        """

    def _clip(self, player: str, norm: Tensor) -> None:
        """Shortens the player's gradient, of this norm over all ranks, to its optimizer's bound. Nothing waits for the
        device; a gradient within the bound is multiplied by one and keeps its bits."""
        bound = self.optimizers[player].param_groups[0].get(CLIP_NORM)
        if bound is not None:
            torch._foreach_mul_(self._own_gradients(player), (bound / norm).clamp(max=1))

    @abstractmethod
    def _own_gradients(self, player: str) -> list[Tensor]:
        """The mean gradients that this rank holds, of all weights or of its part, where `_step` finds them."""

    @abstractmethod
    def _step(self, player: str) -> None:
        """Steps along the gradients and clears them."""

    @abstractmethod
    def _take_gradients(self, player: str) -> list[Tensor]:
        """Returns the gradients of all the player's parameters, in full, and clears them."""

    def _forward(self, phase: Phase, batch: Batch) -> tuple[Tensor, Outputs]:
        """A micro-batch's loss, to be differentiated, and its observations, terms and figures."""
        for module in self._all_tracked:        # what the last pass left of players that did not move
            module.take()
            module.drain_kept()
        with autocast(self.precision, self.device):
            terms = phase.loss(batch)
            total = torch.stack([term.to(_sum_dtype(term)) for term in terms.values()]).sum()
        if self.scales:
            total = total * self.scales[phase.name].scale
        outputs: Outputs = {}
        for index, module in enumerate(self._tracked[phase.players]):
            outputs |= {("observed", index, name): value for name, value in module.drain().items()}
            for name, value in module.drain_kept().items():
                self._kept.setdefault(index, {}).setdefault(name, []).append(value)
        outputs |= {("term", name): value.detach() for name, value in terms.items()}
        return total, outputs | {("figure", name): value.detach() for name, value in batch.figures.items()}

    def _num_micro_batches(self, batch: Batch) -> int:
        return len(batch) // self.micro_batch

    def _micro_batch_at(self, batch: Batch, index: int) -> Batch:
        return batch[index * self.micro_batch : (index + 1) * self.micro_batch]

    def _skips(self, phase: Phase, means: Outputs, norms: Mapping[str, Tensor]) -> Tensor:
        """Whether to skip the update, bool []; counts it in `health`. Equal on all ranks, as means and norms are.

        In fp16, a gradient that is not finite is attributed to the loss scale as long as that can still be lowered.
        """
        terms = [value for key, value in means.items() if key[0] == "term"]
        finite = _finite([*terms, *norms.values()])
        skip = ~finite.all()
        if not self.scales:
            self.health.note(phase.name, skip)
            return skip
        scale, finite_gradient = self.scales[phase.name], finite[len(terms) :].all()
        overflow = finite[: len(terms)].all() & ~finite_gradient & (scale.scale > 1)
        scale.advance(~finite_gradient)
        self.health.note(phase.name, skip & ~overflow, overflow)
        return skip

    def _advance(self, pending: Pending, skip: Tensor) -> None:
        """Advances state outside the optimizers, once per update, from the whole batch's means or samples."""
        modules, means = self._tracked[pending.phase.players], pending.means
        whole = {index: {name: self._gather_samples(torch.cat(parts)) for name, parts in kept.items()}
                 for index, kept in pending.kept.items()}
        read = any(module.reads_weights for module in modules)
        with self.whole(self._movers(pending.phase) if read else ()), \
                undone_where(skip, [buffer for module in modules for buffer in module.buffers(recurse=False)]):
            for index, module in enumerate(modules):
                observed = {name: means["observed", index, name] for name in module.statistics
                            if ("observed", index, name) in means}
                if len(observed) == len(module.statistics):  # it was used; one without statistics always advances
                    module.advance(**observed)
                if index in whole:
                    module.commit(**whole[index])

    def _gather_samples(self, samples: Tensor) -> Tensor:
        """Gathers per-sample values from all ranks, in the order of the global batch."""
        if self.ranks.world_size == 1:
            return samples
        parts = [torch.empty_like(samples) for _ in range(self.ranks.world_size)]
        dist.all_gather(parts, samples.contiguous())
        return torch.cat(parts)

    def _movers(self, phase: Phase) -> list[str]:
        """The phase's players that have parameters to train."""
        return [player for player in phase.players if self._parameters[player]]

    def _tracked_by(self, players: tuple[str, ...]) -> list[Tracked]:
        """Modules whose state advances with these players: their own, and those of no player, such as a penalty's."""
        moving = [m for player in players for m in tracked_modules(self.game.players[player])]
        owned = {id(m) for player in self.game.players.values() for m in tracked_modules(player)}
        return moving + [m for m in tracked_modules(self.game) if id(m) not in owned]

    @contextlib.contextmanager
    def _frozen_except(self, players: tuple[str, ...]) -> Iterator[None]:
        """Freezes all players but these: no gradient is computed or kept for the others."""
        frozen = [p for name, parameters in self._parameters.items() if name not in players for p in parameters]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)


def mean_over_ranks(sums: Outputs, samples: int, world: int) -> Outputs:
    """Sums over ranks, divided by `samples`; one exchange."""
    vector = torch.cat([value.reshape(-1).to(_sum_dtype(value)) for value in sums.values()])
    pieces = (reduction.fast(vector, world) / samples).split([value.numel() for value in sums.values()])
    return {key: piece.view(value.shape) for (key, value), piece in zip(sums.items(), pieces)}


def norm_of(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm over the elements of all tensors, []."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def _finite(values: list[Tensor]) -> Tensor:
    """Which of some scalars are finite, bool [n]: `isfinite`, in two kernels instead of four."""
    vector = torch.stack([value.float() for value in values])
    return vector - vector == 0


def _sum_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype
