"""Kernel launches of one training iteration, counted on tensors without data: neither a GPU nor time is needed.

Counted are the operators that PyTorch dispatches and that compute or move something, each for one launch, our kernels
too: views, allocations and reads of a shape are none. On a GPU some operators are several kernels (a sum in two stages,
a sort), and cuDNN's own transformations come on top; as a measure of what the host has to start, and of what a change
saves, it serves. It does not depend on the machine. Tensors are the CPU's, as backward passes want a device that is
there, but our own operators work on them as on a GPU.
"""

from collections import Counter
from functools import partial
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from scalegan import config, kernels
from scalegan.config import loading
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Phase, Sample
from scalegan.models.layers import resample
from scalegan.randomness import Draws
from scalegan.training import build
from scalegan.training.costs import specs_of
from tools.benchmarks.harness import Result, shorter

_DEVICE = torch.device("cpu")
# Recipes, and what this counts of them in the last commit before draws and activations were fused.
_RECIPES = {"stylegan2_256": (["recipe=lsun_church_stylegan2"], 8958),
            "r3gan_256": (["recipe=lsun_church_r3gan"], 6439),
            "dcgan_64": (["recipe=lsun_bedroom", "micro_batch_size=16"], 674)}
_SEEN = 10**7       # images: past the start of schedules, where ADA would be left out
# Operators that only allocate, look or rename.
_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh", "alias",
         "promote_types", "is_same_size", "_local_scalar_dense", "_unsafe_view", "_reshape_alias", "set_", "resize_"}


class Launches(TorchDispatchMode):
    """Counts what runs inside, `by_operator`."""

    def __init__(self) -> None:
        super().__init__()
        self.by_operator: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        family, _, name = function._schema.name.partition("::")
        if family in ("aten", "scalegan") and name not in _FREE and not function.is_view:
            self.by_operator[name] += 1
        return function(*args, **(kwargs or {}))


def of_phases(recipe: config.Recipe, precision: str = "bf16") -> list[tuple[Phase, Counter[str]]]:
    """Of one update of each phase from one micro-batch, by operator."""
    resample._kernel.cache_clear()                      # as what is kept from outside has data
    try:
        with torch.device("meta"):
            game = build.on_device(build.game(recipe, specs_of(recipe)), torch.device("meta"))
        with mock.patch.object(kernels, "on_gpu", lambda tensor: True), FakeTensorMode(allow_non_fake_inputs=True):
            game.to_empty(device=_DEVICE)
            count = recipe.micro_batch_size or recipe.batch_size
            engine = DDPEngine(game, optimizers.make(recipe.optimizer, game), Ranks(0, 1, _DEVICE), count, precision)
            streams = {name: Sample(spec.empty(count).to(_DEVICE)) for name, spec in specs_of(recipe).items()}
            positions = torch.zeros(count, dtype=torch.int64, device=_DEVICE)

            def update(phase: Phase) -> Counter[str]:
                with Launches() as counted:
                    engine.update(phase, Batch(streams, Draws(0, 0, phase.name, positions), images=_SEEN))
                return counted.by_operator

            for phase in game.phases:                   # the first time makes constants that stay
                update(phase)
            return [(phase, update(phase)) for phase in game.phases]
    finally:
        resample._kernel.cache_clear()


def per_iteration(recipe: config.Recipe) -> float:
    """The mean over iterations of one micro-batch: a lazy penalty counts as often as it moves."""
    return sum(counts.total() / phase.every for phase, counts in of_phases(recipe))


def recipe_of(keys: list[str]) -> config.Recipe:
    return loading.load([*keys, "run_dir=none", "data.path=none"])


def _launches(name: str) -> Result:
    keys, before = _RECIPES[name]
    found = per_iteration(recipe_of(keys))
    return shorter(f"launches_{name}", "launches", found, "before draws and activations were fused", before)


BENCHMARKS = {name: partial(_launches, name) for name in _RECIPES}
