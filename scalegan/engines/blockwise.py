"""Networks sharded by torch's FSDP2 (`fully_shard`): the weights of a block are gathered where its forward or backward
pass needs them, and freed after it.

What that takes is easy to miss, and silently wrong otherwise:
- every unit reshards after its forward, the outermost too: a forward without gradients between a backward pass and the
  step would leave it with the weights from before the step;
- optimizers move the local parts: once a forward has run, `parameters()` may be whole copies;
- weights without axes cannot be sharded, and stay whole;
- a network is called through its `forward` alone, and differentiated once (`Game.by_forward`).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.utils._pytree import tree_map_only

from scalegan.engines.partitioned import Partitioned, rows
from scalegan.engines.parts import move_the_rest
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Game


class Blockwise:
    """Shards a network in place, block by block.

    Args:
        network: with equal weights on all ranks, on any device.

    Attributes:
        held: this rank's part of each weight, by name; the parts are what optimizers move.
        replicated: the weights without axes, by name.
    """

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        self.network, self.ranks = network, ranks
        self.replicated = {name: p for name, p in network.named_parameters() if p.dim() == 0}
        move_the_rest(network, ranks.device)
        for parameter in network.parameters():
            parameter.data = parameter.data.contiguous()        # FSDP2 takes no other layout
        mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
        for unit in [*blocks_of(network), network]:
            unit.register_forward_hook(_own_memory)
            fully_shard(unit, mesh=mesh, reshard_after_forward=True, ignored_params=set(self.replicated.values()))
            unit.set_gradient_divide_factor(1.0)        # sums, as those of all engines
            unit.set_force_sum_reduction_for_comms(True)
        network._get_fsdp_state()._lazy_init()      # before parts are taken: some versions of torch replace them here
        self.held = {name: Partitioned(p.shape, p.detach().to_local().view(-1), rows(p.shape, ranks.world_size),
                                       ranks.rank)
                     for name, p in network.named_parameters() if p.dim()}

    @contextlib.contextmanager
    def whole(self, keep: bool = False) -> Iterator[None]:
        """Within the block, the network has all its weights, as long as its `state_dict` is not asked for. What is
        written to them is lost, unless `keep`: then it must be the same on all ranks. On all ranks at once."""
        units = [module for module in self.network.modules() if isinstance(module, FSDPModule)]
        for unit in units:
            unit.unshard()
        try:
            yield
        finally:
            if keep:
                for name, parameter in self.network.named_parameters():
                    if name in self.held:
                        self.held[name].fill(parameter.detach())
            for unit in units:
                unit.reshard()

    def reduce_gradients(self) -> None:
        """Hands the gradients, which FSDP has summed over ranks, to the parts; zero where there is none."""
        for name, parameter in self.network.named_parameters():
            if name in self.held and parameter.requires_grad:
                part = self.held[name].part
                part.grad = torch.zeros_like(part) if parameter.grad is None else parameter.grad.to_local().view(-1)
                parameter.grad = None


def players_by_block(game: Game) -> set[str]:
    """The players that are sharded so. One that is exported as it is, not averaged, would gather on all ranks whenever
    rank 0 draws a picture."""
    live = {player for export in game.exports.values() if not export.averaged for player in export.players}
    return {name for name in game.by_forward - live if any(True for _ in game.players[name].parameters())}


def _own_memory(unit: nn.Module, inputs: Any, output: Any) -> Any:
    """An output that is a view loses FSDP2's hooks, silently, if it is changed in place."""
    return tree_map_only(Tensor, lambda tensor: tensor if tensor._base is None else tensor.clone(), output)


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The modules below a network that are sharded one by one: entries of its ModuleLists, ModuleDicts and Sequentials
    with weights of their own."""
    for child in network.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict | nn.Sequential):
            yield from (entry for entry in child.children() if any(p.dim() for p in entry.parameters()))
        else:
            yield from blocks_of(child)

