"""Activation checkpointing (Chen et al., 2016): trades time for memory.

A block keeps only its inputs, and recomputes its activations when derivatives are taken, of any order. Random draws are
inputs or keyed, and power iteration starts from stored state, so recomputing gives the same bits.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from scalegan.models.layers.dropout import Keyed
from scalegan.models.layers.tracked import NothingObserved


def recompute_blocks(network: nn.Module) -> None:
    """Makes the network's blocks recompute their activations; names and state stay as they are.

    A block is an entry of a ModuleList or ModuleDict, or the layers from one weight to the next in an nn.Sequential
    that is in neither. Compiled passes plan their memory themselves, and are left alone.
    """
    for child in network.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            for block in child.children():
                block.forward = MethodType(_recomputed, block)
        elif isinstance(child, nn.Sequential):
            child.forward = MethodType(_recomputed_stretches, child)
        else:
            recompute_blocks(child)


def _recomputed(block: nn.Module, *inputs: Any) -> Any:
    forward = type(block).forward
    return _call(block, partial(forward, block), *inputs)


def _recomputed_stretches(sequence: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    layers = list(sequence)
    heads = [i for i, layer in enumerate(layers) if any(p.dim() > 1 for p in layer.parameters())]
    for low, high in itertools.pairwise([0, *heads[1:], len(layers)]):
        stretch = nn.Sequential(*layers[low:high])
        x = _call(stretch, stretch, x)
    return x


def _call(block: nn.Module, function: Callable, *inputs: Any) -> Any:
    # Weights that stand in for the block's own during a call, as in the unrolled game, are gone when it is repeated.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or \
            not all(isinstance(weight, nn.Parameter) for weight in block.parameters()):
        return function(*inputs)
    again = _Again([layer for layer in block.modules() if isinstance(layer, Keyed)])
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False,
                      context_fn=lambda: (contextlib.nullcontext(), again))


class _Again(NothingObserved):
    """Where a block's forward is repeated: nothing is observed, and its random layers draw what they drew before,
    though the loss's `drawn_from` is over by then."""

    def __init__(self, layers: Sequence[Keyed]) -> None:
        self.layers, self.then = layers, [(layer.draws, layer.passes) for layer in layers]
        self.now: list[list[tuple]] = []

    def __enter__(self) -> None:
        super().__enter__()
        self.now.append([(layer.draws, layer.passes) for layer in self.layers])
        self._set(self.then)

    def __exit__(self, *error: object) -> None:
        self._set(self.now.pop())
        super().__exit__(*error)

    def _set(self, states: Sequence[tuple]) -> None:
        for layer, state in zip(self.layers, states):
            layer.draws, layer.passes = state
