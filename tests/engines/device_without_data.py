"""An accelerator that computes nothing: tensors of its know their shape, type and place, as CUDA's would.

Updates on it show what would fail on a GPU, on a machine without one: tensors that were left on the CPU, and questions
to the device, for which its host would wait. To be run as a program, as torch keeps such a device for good: it takes
recipes' keys by name, as JSON, and prints by name what went wrong, or null.
"""

import json
import sys
import traceback
import types

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from scalegan.augment import reflection
from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Sample
from scalegan.models.layers import resample
from scalegan.randomness import Draws
from scalegan.training import build
from scalegan.training.costs import specs_of

NAME = "dataless"


def device() -> torch.device:
    module = types.ModuleType(f"torch.{NAME}")
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]    # which the networks' fp32 parts ask for
    module.is_available = lambda: False     # to optimizers, which otherwise ask for more of a device
    _setup_privateuseone_for_python_backend(NAME, module)
    return torch.device(NAME, 0)


def update_every_phase(keys: list[str], there: torch.device) -> None:
    """Raises where an update mixes devices, asks for a value, or gives a figure that lies elsewhere."""
    recipe = loading.load([*keys, "run_dir=none", "total_images=480", "precision=fp32"])
    specs = specs_of(recipe)
    with torch.device("meta"):
        game = build.game(recipe, specs)
    for constants in (resample._kernel, reflection.constant):
        constants.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        game._apply(lambda tensor: torch.empty_like(tensor, device=there))
        engine = DDPEngine(game, optimizers.make(recipe.optimizer, game), Ranks(0, 1, there), check_world(recipe, 1),
                           tree=recipe.engine.reduction == "tree")
        streams, count = {}, recipe.batch_size
        for name, spec in specs.items():
            condition = spec.empty_condition(count)
            streams[name] = Sample(spec.empty(count).to(there), None if condition is None else condition.to(there))
        tables = {name: sample.condition for name, sample in streams.items() if sample.condition is not None}
        for phase in game.phases:
            draws = Draws(0, 0, phase.name, torch.arange(count, device=there))
            figures = engine.update(phase, Batch(streams, draws, tables, 20_000_000))
            elsewhere = [name for name, figure in figures.items() if figure.device != there]
            assert not elsewhere, f"phase {phase.name}: {elsewhere} lie elsewhere"
        elsewhere = [name for name, tensor in engine.optimizer_state().items() if tensor.device != there]
        assert not elsewhere, f"of the optimizers' state, {elsewhere} lie elsewhere"


def problem(keys: list[str], there: torch.device) -> str | None:
    try:
        update_every_phase(keys, there)
    except Exception:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    place = device()
    print(json.dumps({name: problem(keys, place) for name, keys in json.loads(sys.argv[1]).items()}))
