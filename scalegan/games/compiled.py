"""Compiled networks (torch.compile).

AOTAutograd differentiates compiled code once. Penalties on gradients differentiate a gradient, and get it from code
whose output it is: `Compiled.with_gradient`, or a network's own.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as partitioning

from scalegan.errors import RecipeError
from scalegan.models.layers.dropout import Keyed
from scalegan.models.layers.half import without_autocast
from scalegan.models.layers.tracked import Tracked, tracked_modules
from scalegan.penalties import INNER_SCALE

warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")  # caches only constants


def itself(output: Tensor) -> Tensor:
    return output


class Compiled:
    """Calls `network`, or any of its submodules, as compiled code; all other attributes are the network's own.

    It is not an nn.Module: names, parameters, state and checkpoints stay those of the network. Shapes are static,
    because a resumed run must execute the same code; micro-batches always have the same size.
    """

    def __init__(self, network: nn.Module) -> None:
        self.plain, self._tracked = network, list(tracked_modules(network))
        self._run: Callable | None = None
        self._with_gradient: dict[Callable, Callable] = {}
        self._parts: dict[str, Compiled] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.plain, name)
        if not isinstance(found, nn.Module):
            return found
        return self._parts.setdefault(name, Compiled(found))

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self._run is None:
            self._run = torch.compile(self.plain, dynamic=False)
        return self._called(self._run, *inputs, **options)

    @property
    def differentiable(self) -> bool:
        """Whether `with_gradient` can compile it: no layer exchanges sums with other ranks, nor draws at random."""
        return not any(isinstance(m, Keyed) or getattr(m, "spanning", None) for m in self.plain.modules())

    def with_gradient(self, x: Tensor, *inputs: Any, of: Callable[[Any], Tensor] = itself,
                      along: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y, and the gradient of sum(y * along) with respect to x, from one graph; both can be differentiated once.

        Args:
            x: the network's first input, [n, ...]; `inputs` are the others.
            of: y from the network's output; a function of a module, as it is compiled once for each.
            along: of y's shape; INNER_SCALE everywhere if None.
        """
        if of not in self._with_gradient:
            self._with_gradient[of] = torch.compile(_with_gradient(self.plain, self._tracked, of), dynamic=False,
                                                    fullgraph=True)
        return self._called(self._with_gradient[of], x, inputs, along)

    def _called(self, run: Callable, *inputs: Any, **options: Any) -> Any:
        # Tracked modules enter empty on every call: once they had observed something, Dynamo would recompile.
        before = [module.take() for module in self._tracked]
        # On a CPU it pays to keep as little as possible for the backward pass: a small R3GAN's D with R1 and R2 by
        # second derivatives ran 1.1 times as fast as eager code, and 0.7 times with Inductor's own choice.
        again = next((p.device.type for p in self.plain.parameters()), "") == "cpu"
        try:
            with partitioning.patch(aggressive_recomputation=again):
                return run(*inputs, **options)
        finally:
            for module, seen in zip(self._tracked, before):
                module.put_first(seen)


def differentiable(network: Callable) -> bool:
    """Whether `with_gradient` serves it: compiled code, or a network that needs no second derivatives for that, such as
    R3GAN's D."""
    return getattr(network, "differentiable", False)


def with_gradient(network: Any, x: Tensor, *inputs: Any, of: Callable[[Any], Tensor] = itself) -> tuple[Tensor, Tensor]:
    """A network's output y for x [n, ...] and further inputs, and INNER_SCALE times the gradient of y's sum in x; both
    can be differentiated once. A network that needs no second derivatives for that runs eagerly.

    Args:
        of: y from the network's output, if it has others.
    """
    plain = network.plain if isinstance(network, Compiled) else network
    if differentiable(plain) and of is itself:
        return plain.with_gradient(x, *inputs, scale=INNER_SCALE)
    return network.with_gradient(x, *inputs, of=of)


def _with_gradient(network: nn.Module, tracked: list[Tracked], of: Callable[[Any], Tensor]) -> Callable:
    def run(x: Tensor, inputs: tuple, along: Tensor | None) -> tuple[Tensor, Tensor]:
        def observed(x: Tensor) -> tuple[Tensor, list[dict]]:
            # torch.func's own tensors must not outlive the call, so that they are put where nobody else looks.
            for module in tracked:
                module.take()
            y = of(network(x, *inputs))
            return y, [module.take() for module in tracked]

        y, backward, seen = torch.func.vjp(observed, x, has_aux=True)
        with without_autocast(x):       # as in `scalegan.penalties.inner_gradients`
            gradient, = backward(torch.full_like(y, INNER_SCALE) if along is None else along.to(y.dtype))
        for module, values in zip(tracked, seen):
            module.put_first(values)
        return y, gradient
    return run


def check_compiler(device: torch.device) -> None:
    """Raises RecipeError if torch.compile would not find a compiler."""
    if device.type == "mps":
        raise RecipeError("engine.compile=true is not supported on a Mac's GPU; set engine.compile=false")
    if device.type == "cpu":
        name = os.environ.get("CXX", "g++")
        if shutil.which(name) is None:
            raise RecipeError(f"engine.compile=true needs a C++ compiler, but {name} was not found: install g++, set "
                              "the environment variable CXX to another, or set engine.compile=false")
    elif find_spec("triton") is None:
        raise RecipeError("engine.compile=true needs triton on a GPU: pip install triton, or set engine.compile=false")
