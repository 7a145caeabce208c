"""Compiled networks (torch.compile), for passes that are differentiated at most once.

AOTAutograd cannot differentiate twice, so gradient penalties call the network itself.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from scalegan.errors import RecipeError
from scalegan.models.layers.tracked import tracked_modules

warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")  # caches only constants


class Compiled:
    """Calls `network`, or any of its submodules, as compiled code; all other attributes are the network's own.

    It is not an nn.Module: names, parameters, state and checkpoints stay those of the network. Shapes are static,
    because a resumed run must execute the same code; micro-batches always have the same size.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network, self._tracked = network, list(tracked_modules(network))
        self._run: Callable | None = None
        self._parts: dict[str, Compiled] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        if not isinstance(found, nn.Module):
            return found
        return self._parts.setdefault(name, Compiled(found))

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self._run is None:
            self._run = torch.compile(self._network, dynamic=False)
        # Tracked modules enter empty on every call: once they had observed something, Dynamo would recompile.
        before = [module.take() for module in self._tracked]
        try:
            return self._run(*inputs, **options)
        finally:
            for module, seen in zip(self._tracked, before):
                module.put_first(seen)


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
