"""What a phase costs under `engine.name=fsdp`: the weights that are whole and the buffers at every moment of a
micro-batch, on any number of ranks, from a single run of it on one.

`Sharding` follows a micro-batch with hooks where FSDP2 has its own, and notes how much besides is alive in every state
that a sharded player passes through: what is gathered, prefetched, or waiting to be reduced.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from scalegan.games.base import Game, Phase
from scalegan.models.layers.tracked import tracked_modules
from scalegan.training.sharded_sizes import Shapes, buckets, bytes_of, padded_bytes, part_bytes, while_gathering

if TYPE_CHECKING:
    from scalegan.training.costs import Meter

# In a state: units that are whole, or in a buffer of a gather or a reduction, or whose gradient's part is kept.
_WHOLE, _GATHERED, _REDUCED, _KEPT = range(4)
State = tuple[tuple[tuple[int, int], int], ...]     # counts of (unit, one of these)


def shapes_of(parameters: Iterable[Tensor]) -> Shapes:
    """Of those that are partitioned."""
    return tuple(parameter.shape for parameter in parameters if parameter.dim())


@dataclass(frozen=True)
class ShardedCost:
    """A phase's memory and traffic on any number of ranks, besides what a rank holds throughout.

    Args:
        units: shapes of the weights of each unit that FSDP2 gathers at once.
        whole: of players that are whole during the phase.
        moved_whole: of those among them that move.
        advanced: of the units, or of what is in `whole`, that are gathered once more after the step, for spectral norm.
        first, later: most bytes alive besides, in each state of the first micro-batch, and of a further one.
        gathers, reductions: of each unit in a micro-batch.
        differentiated: the units that its backward pass runs through.
    """

    units: tuple[Shapes, ...]
    whole: Shapes
    moved_whole: Shapes
    advanced: Shapes
    first: dict[State, int]
    later: dict[State, int]
    gathers: Counter
    reductions: Counter
    differentiated: set[int]

    def peak(self, ranks: int, micro_batches: int) -> int:
        """Most bytes alive at once on a rank."""
        gathered = while_gathering(self.whole, ranks)
        held = bytes_of(self.whole)
        peak = max(gathered, held + max(self._in(state, ranks) + alive for state, alive in self.first.items()))
        kept = sum(part_bytes(self.units[unit], ranks) for unit in self.reductions)
        if micro_batches > 1:
            held += bytes_of(self.moved_whole)
            peak = max(peak, *(held + kept + self._in(state, ranks, without=_KEPT) + alive
                               for state, alive in self.later.items()))
        reducing = bytes_of(self.whole) + kept + self._while_reducing(ranks)
        return max(peak, reducing, while_gathering(self.advanced, ranks))

    def traffic(self, ranks: int, micro_batches: int, padded: bool = True) -> float:
        """Bytes of weights and gradients that a rank sends in an update, by ring algorithms; all ranks' parts of a
        weight are as long as the longest if `padded`."""
        size = partial(padded_bytes, ranks=ranks) if padded else bytes_of
        exchanges = self.gathers + self.reductions
        of_units = sum(count * size(self.units[unit]) for unit, count in exchanges.items())
        of_phase = sum(size(shapes) for shapes in (self.whole, self.moved_whole, self.advanced))
        return (micro_batches * of_units + of_phase) * (ranks - 1) / ranks

    def _in(self, state: State, ranks: int, without: int | None = None) -> int:
        padded = partial(padded_bytes, ranks=ranks)
        sizes = {_WHOLE: bytes_of, _GATHERED: padded, _REDUCED: padded, _KEPT: partial(part_bytes, ranks=ranks)}
        return sum(count * sizes[kind](self.units[unit]) for (unit, kind), count in state if kind != without)

    def _while_reducing(self, ranks: int) -> int:
        """A bucket's gradients are there as a list of stacked parts and as one buffer, the rest as they were."""
        gradients, kept, peak = bytes_of(self.moved_whole), 0, 0
        for bucket in buckets(self.moved_whole):
            gradients -= bytes_of(bucket)
            kept += part_bytes(bucket, ranks)
            peak = max(peak, gradients + kept + 2 * padded_bytes(bucket, ranks))
        return peak


class Sharding:
    """Follows one micro-batch of a phase, which runs on one rank with all weights.

    Args:
        moving: parameters that the phase moves.
    """

    def __init__(self, game: Game, phase: Phase, moving: Sequence[nn.Parameter]) -> None:
        from scalegan.engines.blockwise import blocks_of, players_by_block

        blockwise = players_by_block(game)
        self._networks = [_Network(self, game.players[name]) for name in blockwise]
        self._units: list[Shapes] = []
        for network in self._networks:
            blocks = list(blocks_of(network.module))
            within = {id(p) for block in blocks for p in block.parameters()}
            units = [(block, list(block.parameters())) for block in blocks]
            units.append((network.module, [p for p in network.module.parameters() if id(p) not in within]))
            for module, parameters in units:
                network.units[module] = len(self._units)
                self._units.append(shapes_of(parameters))
                for parameter in parameters:
                    network.unit_of[parameter] = len(self._units) - 1
        whole = [game.players[name] for name in game.players if name not in blockwise]
        self._whole = tuple(shape for player in whole for shape in shapes_of(player.parameters()))
        self._moving = [p for p in moving if p.dim()]
        sharded = {id(p) for network in self._networks for p in network.unit_of}
        self._moved_whole = [p for p in self._moving if id(p) not in sharded]
        read = any(m.reads_weights for name in phase.players for m in tracked_modules(game.players[name]))
        self._advanced = shapes_of(moving) if read else ()
        self._state: Counter = Counter()
        self._first: dict[State, int] = {}
        self._later: dict[State, int] = {}
        self._key: State = ()
        self._dropped = 0       # bytes of gradients that FSDP2 has freed
        self._handed = 0        # of whole gradients that were there before, in a further micro-batch
        self.gathers, self.reductions, self.differentiated = Counter(), Counter(), set()

    @contextlib.contextmanager
    def following(self, meter: "Meter") -> Iterator[None]:
        """Within the block, a single micro-batch runs forwards and backwards."""
        self._meter, meter.noted = meter, self.note
        removable = [parameter.register_post_accumulate_grad_hook(self._hand_over) for parameter in self._moved_whole]
        for network in self._networks:
            removable += network.hooks([p for p in self._moving if p in network.unit_of])
        try:
            self.note()
            yield
            for network in self._networks:
                network.end()
        finally:
            for hook in removable:
                hook.remove()

    def cost(self) -> ShardedCost:
        return ShardedCost(tuple(self._units), self._whole, shapes_of(self._moved_whole), self._advanced, self._first,
                           self._later, self.gathers, self.reductions, self.differentiated)

    def note(self) -> None:
        alive = self._meter.alive - self._dropped
        self._first[self._key] = max(self._first.get(self._key, 0), alive)
        self._later[self._key] = max(self._later.get(self._key, 0), alive - self._handed)

    def hold(self, unit: int, kind: int, count: int = 1) -> None:
        """Notes that a unit is, or (-1) is no longer, in a state."""
        self._state[unit, kind] += count
        self._key = tuple(sorted((key, count) for key, count in self._state.items() if count))
        self.note()

    def drop(self, gradients: Iterable[Tensor]) -> None:
        """Leaves out gradients that FSDP2 frees here, and this process does not."""
        self._dropped += sum(gradient.nbytes for gradient in gradients)

    def _hand_over(self, parameter: nn.Parameter) -> None:
        self._handed += parameter.grad.nbytes


class _Network:
    """A network sharded by FSDP2; what happens in it, in the order in which torch 2.14 does it."""

    def __init__(self, sharding: Sharding, module: nn.Module) -> None:
        self.sharding, self.module = sharding, module
        self.units: dict[nn.Module, int] = {}
        self.unit_of: dict[nn.Parameter, int] = {}
        self._here: set[int] = set()                # units that are whole
        self._gathered: set[int] = set()            # prefetched ones
        self._last: int | None = None               # whose buffer of the gather is kept for the next unit's forward
        self._order: list[int] = []                 # of forwards
        self._times: dict[int, list[int]] = {}      # places of each unit in it
        self._gradients: dict[int, list[Tensor]] = {}
        self._reducing: int | None = None

    def hooks(self, moving: Iterable[nn.Parameter]) -> list[Any]:
        made = []
        for module, unit in self.units.items():
            made.append(module.register_forward_pre_hook(partial(self._before_forward, unit)))
            made.append(module.register_forward_hook(partial(self._after_forward, unit)))
        return made + [p.register_post_accumulate_grad_hook(self._accumulated) for p in moving]

    def end(self) -> None:
        """Units whose inputs need no gradient are finished at the end of the backward pass."""
        for unit in self.units.values():
            if unit in self._here or unit in self._gradients:
                self._after_backward(unit)
        for unit in self._gathered:
            self.sharding.hold(unit, _GATHERED, -1)

    def _before_forward(self, unit: int, module: nn.Module, inputs: Any) -> None:
        if unit not in self._here:
            self._gather(unit)
            if self._last is not None:
                self.sharding.hold(self._last, _GATHERED, -1)
            self._last = unit
            self._here.add(unit)
            self.sharding.hold(unit, _WHOLE)
        if torch.is_grad_enabled():
            for tensor in _differentiable(inputs):
                _actions(tensor)[0].append(partial(self._after_backward, unit))

    def _after_forward(self, unit: int, module: nn.Module, inputs: Any, output: Any) -> None:
        self._reshard(unit)
        self._times.setdefault(unit, []).append(len(self._order))
        self._order.append(unit)
        if module is self.module and self._last is not None:
            self.sharding.hold(self._last, _GATHERED, -1)
            self._last = None
        for tensor in _differentiable(output):
            _actions(tensor)[1].append(partial(self._before_backward, unit))

    def _before_backward(self, unit: int) -> None:
        self.sharding.differentiated.add(unit)
        if unit not in self._here:
            if unit not in self._gathered:
                self._gather(unit)
            self._gathered.discard(unit)
            self._here.add(unit)
            self.sharding.hold(unit, _WHOLE)
            self.sharding.hold(unit, _GATHERED, -1)
        if self._times.get(unit):
            place = self._times[unit].pop()
            before = self._order[place - 1] if place else unit
            if before not in self._here | self._gathered:
                self._gathered.add(before)
                self._gather(before)

    def _accumulated(self, parameter: nn.Parameter) -> None:
        self._gradients.setdefault(self.unit_of[parameter], []).append(parameter.grad)

    def _after_backward(self, unit: int) -> None:
        self._reshard(unit)
        if not (gradients := self._gradients.pop(unit, None)):
            return
        if self._reducing is not None:
            self.sharding.hold(self._reducing, _REDUCED, -1)
        self._reducing = unit
        self.sharding.reductions[unit] += 1
        self.sharding.hold(unit, _REDUCED)
        self.sharding.drop(gradients)
        self.sharding.hold(unit, _KEPT)

    def _gather(self, unit: int) -> None:
        self.sharding.gathers[unit] += 1
        self.sharding.hold(unit, _GATHERED)

    def _reshard(self, unit: int) -> None:
        if unit in self._here:
            self._here.discard(unit)
            self.sharding.hold(unit, _WHOLE, -1)


def _differentiable(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_iter(values) if isinstance(value, Tensor) and value.requires_grad)


def _actions(tensor: Tensor) -> tuple[list[Callable[[], None]], list[Callable[[], None]]]:
    """What is done once a tensor's gradient is there: by units that took it, then by those that made it."""
    if not hasattr(tensor, "_unit_actions"):
        tensor._unit_actions = [], []
        tensor.register_hook(partial(_act, tensor._unit_actions))
    return tensor._unit_actions


def _act(actions: tuple[list[Callable[[], None]], ...], gradient: Tensor) -> None:
    for action in [*actions[0], *actions[1]]:
        action()
