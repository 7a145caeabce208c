"""Fully sharded training: each rank keeps its part of all weights, averages, gradients and optimizers' state.

A player that phases only call through `forward`, and differentiate once (`Game.by_forward`), is sharded by FSDP2, block
by block. Any other has all its weights on every rank while a phase runs, as exact gradient penalties need them, and
its part of them in between.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalegan.averages.averages import Averages
from scalegan.engines.base import Engine, Outputs, mean_over_ranks, norm_of
from scalegan.engines.blockwise import Blockwise, players_by_block
from scalegan.engines.optimizers import materialise
from scalegan.engines.partitioned import Partitioned, gather
from scalegan.engines.parts import Parts, move_the_rest
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase

Sharded = Parts | Blockwise


class FSDPEngine(Engine):
    """Keeps a part of everything on every rank; the arguments are `Engine`'s. The game may still be on the CPU."""

    def __init__(self, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks, micro_batch: int,
                 precision: str = "fp32") -> None:
        if not dist.is_initialized():
            dist.init_process_group("nccl" if ranks.device.type == "cuda" else "gloo", store=dist.HashStore(),
                                    rank=0, world_size=1)
        by_block = players_by_block(game)
        self._sharded: dict[str, Sharded] = {
            name: (Blockwise if name in by_block else Parts)(player, ranks)
            for name, player in game.players.items() if any(True for _ in player.parameters())}
        self._averages: list[Parts] = []
        move_the_rest(game, ranks.device)
        for network in game.fixed.values():
            network.to(ranks.device)
        super().__init__(game, optimizers, ranks, micro_batch, precision)
        self._moved = {player: self._moved_by(player) for player in optimizers}
        for player, optimizer in optimizers.items():
            optimizer.param_groups[0]["params"] = list(self._moved[player].values())
            optimizer.state.clear()
            materialise(optimizer)

    def adopt(self, averages: Averages) -> None:
        for networks in averages.groups.values():
            for player, ema in networks.items():
                parts = Parts(ema.average, self.ranks)
                ema.held = parts.held
                ema.track(_here(parts), self._moved.get(player, {}))
                self._averages.append(parts)

    @contextlib.contextmanager
    def whole(self, players: Iterable[str] = (), averages: bool = False, keep: bool = False) -> Iterator[None]:
        networks = [self._sharded[player] for player in players if player in self._sharded]
        with contextlib.ExitStack() as stack:
            for sharded in [*networks, *(self._averages if averages else ())]:
                stack.enter_context(sharded.whole(keep))
            yield

    def tensors(self) -> dict[str, Tensor | Partitioned]:
        found, names = super().tensors(), {module: name for name, module in self.game.named_modules()}
        for sharded in self._sharded.values():
            found |= {f"game/{names[sharded.network]}.{name}": held for name, held in sharded.held.items()}
        return found

    def optimizer_state(self) -> dict[str, Tensor | Partitioned]:
        found: dict[str, Tensor | Partitioned] = {}
        for player, optimizer in self.optimizers.items():
            for name, part in self._moved[player].items():
                whole = self._sharded[player].held.get(name)
                for key, value in optimizer.state[part].items():
                    found[f"optimizer/{player}/{name}/{key}"] = replace(whole, part=value) if whole and value.dim() \
                        else value
        return found

    def _accumulate(self, phase: Phase, batch: Batch) -> Outputs:
        movers, count, sums = self._movers(phase), self._num_micro_batches(batch), {}
        with self.whole(name for name, sharded in self._sharded.items() if isinstance(sharded, Parts)):
            for index in range(count):
                total, outputs = self._forward(phase, self._micro_batch_at(batch, index))
                total.backward(inputs=self._differentiated_by(movers))
                sums = {key: sums[key] + value if sums else value for key, value in outputs.items()}
            for player in movers:
                self._sharded[player].reduce_gradients()
        return self._means(phase, sums, count)

    def _differentiated_by(self, movers: list[str]) -> list[nn.Parameter] | None:
        """What a backward pass is told to differentiate by, if it can be told: FSDP2's weights are other tensors."""
        if any(isinstance(self._sharded[player], Blockwise) for player in movers):
            return None
        return [parameter for player in movers for parameter in self._parameters[player]]

    def _means(self, phase: Phase, sums: Outputs, count: int) -> Outputs:
        """Makes the gradients means, and returns those of outputs and norms; one exchange serves all."""
        movers, samples = self._movers(phase), count * self.ranks.world_size
        factor = 1 / samples / (self.scales[phase.name].scale if self.scales else 1)
        for player in movers:
            partitioned = [part.grad for part in self._partitioned(player)]
            torch._foreach_mul_(partitioned, factor)
            sums["norm", player] = norm_of(partitioned).square() * samples if partitioned else \
                torch.zeros((), device=self.device)
            for name, parameter in self._replicated(player).items():
                sums["gradient", player, name] = torch.zeros_like(parameter) if parameter.grad is None else \
                    parameter.grad
        means = mean_over_ranks(sums, samples, self.ranks.world_size)
        for player in movers:
            for name, parameter in self._replicated(player).items():
                parameter.grad = means.pop(("gradient", player, name)) * (factor * samples)
                means["norm", player] += parameter.grad.square()
            means["norm", player] = means["norm", player].sqrt()
        return means

    def _own_gradients(self, player: str) -> list[Tensor]:
        return [part.grad for part in self._moved[player].values()]

    def _step(self, player: str) -> None:
        self.optimizers[player].step()
        self.optimizers[player].zero_grad(set_to_none=True)

    def _take_gradients(self, player: str) -> list[Tensor]:
        held = self._sharded[player].held
        wholes = gather({name: replace(held[name], part=part.grad) for name, part in self._moved[player].items()
                         if name in held})
        found = [wholes.get(name, part.grad) for name, part in self._moved[player].items()]
        self.optimizers[player].zero_grad(set_to_none=True)
        return found

    def _moved_by(self, player: str) -> dict[str, Tensor]:
        """What the player's optimizer moves on this rank, by the parameters' names."""
        here = _here(self._sharded[player])
        return {name: here[name] for name, p in self.game.players[player].named_parameters() if p.requires_grad}

    def _partitioned(self, player: str) -> list[Tensor]:
        held = self._sharded[player].held
        return [part for name, part in self._moved[player].items() if name in held]

    def _replicated(self, player: str) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self._sharded[player].replicated.items() if p.requires_grad}


def _here(sharded: Sharded) -> dict[str, Tensor]:
    """What this rank holds of a network's weights, by name."""
    return {name: held.part for name, held in sharded.held.items()} | sharded.replicated
