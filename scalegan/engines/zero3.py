"""DeepSpeed's ZeRO-3: each rank keeps its part of the weights, too.

DeepSpeed gathers a layer's weights in hooks around its forward and backward passes, and cannot take second derivatives
through them. So it plays games whose networks are all called through `forward` and differentiated once
(`Game.by_forward`).
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from scalegan.averages.averages import Averages
from scalegan.engines.base import Outputs
from scalegan.engines.blockwise import blocks_of
from scalegan.engines.deepspeed import DeepSpeedEngine
from scalegan.engines.partitioned import Partitioned, elements, gather
from scalegan.engines.parts import Parts
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase


class Zero3Engine(DeepSpeedEngine):
    """The arguments are `Engine`'s."""

    def __init__(self, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks, micro_batch: int,
                 precision: str = "fp32") -> None:
        super().__init__(game, optimizers, ranks, micro_batch, precision, zero_stage=3)
        from deepspeed.runtime.zero.partition_parameters import register_external_parameter

        for player in game.players.values():
            blocks = list(blocks_of(player))
            in_blocks = {id(parameter) for block in blocks for parameter in block.parameters()}
            for unit in [*blocks, player]:      # whose layers may use one another's weights
                for parameter in unit.parameters():
                    if unit is not player or id(parameter) not in in_blocks:
                        register_external_parameter(unit, parameter)
        self._averages: list[Parts] = []

    def adopt(self, averages: Averages) -> None:
        for networks in averages.groups.values():
            for player, ema in networks.items():
                parts = Parts(ema.average, self.ranks, elements)
                ema.held = parts.held
                ema.track({name: held.part for name, held in parts.held.items()},
                          {name: held.part for name, held in self._held(player).items()})
                self._averages.append(parts)

    @contextlib.contextmanager
    def whole(self, players: Iterable[str] = (), averages: bool = False, keep: bool = False) -> Iterator[None]:
        from deepspeed.runtime.zero.partition_parameters import GatheredParameters

        with contextlib.ExitStack() as stack:
            for player in players:
                stack.enter_context(GatheredParameters(list(self.game.players[player].parameters()),
                                                       modifier_rank=0 if keep else None))
            for parts in self._averages if averages else ():
                stack.enter_context(parts.whole(keep))
            yield

    def tensors(self) -> dict[str, Tensor | Partitioned]:
        found, names = super().tensors(), {module: name for name, module in self.game.named_modules()}
        for player in self._engines:
            found |= {f"game/{names[self.game.players[player]]}.{name}": held
                      for name, held in self._held(player).items()}
        return found

    def optimizer_state(self) -> dict[str, Tensor | Partitioned]:
        found: dict[str, Tensor | Partitioned] = {}
        for player, optimizer in self.optimizers.items():
            zero = self._engines[player].optimizer
            for name, parameter in self.game.players[player].named_parameters():
                group, first, count = zero.grad_position[zero.get_param_id(parameter)]
                for key, value in optimizer.state[zero.fp32_partitioned_groups_flat[group]].items():
                    found[f"optimizer/{player}/{name}/{key}"] = value if value.dim() == 0 else \
                        self._part(parameter, value.narrow(0, first, count))
        return found

    def _accumulate(self, phase: Phase, batch: Batch) -> Outputs:
        for player in self._movers(phase):
            zero = self._engines[player].optimizer
            zero.zero_grad()
            zero.grad_partitions_flat_buffer.zero_()    # a weight without a gradient would keep its last one
        return super()._accumulate(phase, batch)

    def _before_micro_batch(self, players: list[str]) -> None:
        for player in players:
            self._engines[player].optimizer.clear_backward_seen_flag()      # or gradients would replace the last ones

    def _own_gradients(self, player: str) -> list[Tensor]:
        return [part for group in self._engines[player].optimizer.averaged_gradients.values() for part in group]

    def _take_gradients(self, player: str) -> list[Tensor]:
        zero, parts = self._engines[player].optimizer, {}
        parameters = dict(self.game.players[player].named_parameters())
        by_id = {zero.get_param_id(p): name for name, p in parameters.items()}
        for group, members in zip(zero.averaged_gradients.values(), zero.fp16_groups):
            parts |= {by_id[zero.get_param_id(p)]: self._part(p, part) for p, part in zip(members, group)}
        wholes = gather({name: parts[name] for name in parameters})
        zero.zero_grad()
        return list(wholes.values())

    def _held(self, player: str) -> dict[str, Partitioned]:
        return {name: self._part(p, p.ds_tensor) for name, p in self.game.players[player].named_parameters()}

    def _part(self, parameter: Any, padded: Tensor) -> Partitioned:
        """This rank's part of what has a parameter's shape."""
        runs = elements(parameter.ds_shape, self.ranks.world_size)
        first, last = runs[self.ranks.rank]
        return Partitioned(parameter.ds_shape, padded.detach()[: last - first], runs, self.ranks.rank)
