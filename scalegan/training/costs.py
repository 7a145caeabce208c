"""The cost of a recipe's updates, in operations and peak bytes, measured by running them on tensors without data.

Nothing is computed, so neither data nor a GPU is needed. On real tensors the same meter gives the same counts.
"""

import contextlib
import dataclasses
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from scalegan import config
from scalegan.config.game import streams_of, volumes_of
from scalegan.data.opening import settings_of
from scalegan.data.spec import Latents, Spec
from scalegan.engines import optimizers
from scalegan.engines.precision import autocast
from scalegan.games.base import Batch, Game, Phase, Sample
from scalegan.models.layers import resample
from scalegan.models.layers.tracked import Tracked, tracked_modules
from scalegan.randomness import Draws
from scalegan.support.flops import flops_of
from scalegan.training import build
from scalegan.training.sharded_sizes import Shapes
from scalegan.training.sharding_costs import ShardedCost, Sharding, shapes_of


class Meter(TorchDispatchMode):
    """Counts the operations that run inside, by torch's formulas, and the bytes of the tensors they create.

    Args:
        known: tensors that existed before and are not counted.

    Attributes:
        flops: operations so far.
        alive, peak: bytes alive now, and the most alive at any time.
        noted: called whenever more are alive.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.flops = self.alive = self.peak = 0
        self.noted: Callable[[], None] = int
        self._known = list(known)                       # keeps new tensors from reusing their storage
        self._bytes = {tensor.untyped_storage()._cdata: 0 for tensor in self._known}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.flops += flops_of(function, args, kwargs or {}, result)
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place not in self._bytes:
            self._bytes[place] = storage.nbytes()
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            self.noted()
            weakref.finalize(storage, self._forget, place)

    def _forget(self, place: int) -> None:
        self.alive -= self._bytes.pop(place)


_VECTOR_DIM = 384      # that `scalegan plan` assumes, of sentences


@dataclass(frozen=True)
class MicroBatchCost:
    """The cost of one micro-batch of a phase.

    Args:
        flops: of its forward and backward, including penalties.
        peak_bytes: most bytes alive at once, besides weights, buffers and the batch: activations and gradients.
        gradients: number of elements in the gradients of the phase's players.
        others: how many other numbers are exchanged: observations, terms, figures.
        sharded: what it takes under FSDP.
    """

    flops: int
    peak_bytes: int
    gradients: int
    others: int
    sharded: ShardedCost


@dataclass(frozen=True)
class State:
    """Bytes that a process holds throughout a run, unpartitioned; a checkpoint stores all of them.

    Args:
        tensors: shapes of what can be partitioned: weights, their averages and their optimizers' state.
        averaged: shapes of the averages among them.
        players: number of elements of each player's weights.
    """

    weights: int
    buffers: int
    optimizer: int
    ema: int
    tensors: Shapes = ()
    averaged: Shapes = ()
    players: tuple[int, ...] = ()

    @property
    def checkpoint(self) -> int:
        return self.weights + self.buffers + self.optimizer + self.ema


def specs_of(recipe: config.Recipe, classes: int = 10) -> dict[str, Spec]:
    """Guesses the specs of a recipe's streams without reading its data.

    Args:
        classes: number of classes or attributes to assume if the recipe is conditional.
    """
    found = {}
    for name in streams_of(recipe):
        data = settings_of(recipe, name)
        labels = {"none": {}, "class": {"classes": classes}, "attributes": {"attributes": classes},
                  "vectors": {"vector_dim": _VECTOR_DIM}}[data.labels]
        channels = 1 if data.path.startswith("embedded:") and data.labels != "vectors" else 3
        if data.latents:
            image = (3, *(8 * side for side in data.sides))     # as Stable Diffusion's are
            found[name] = Spec("latent", (data.latents, *data.sides), **labels,
                               latents=Latents("", "", image, scale=1.0))
        elif name in volumes_of(recipe):
            found[name] = Spec("volume", (1, *[data.resolution] * 3), **labels)
        else:
            found[name] = Spec("points", (2,)) if data.backend == "points" else \
                Spec("image", (channels, *data.sides), **labels)
    return found


class Costs:
    """The costs of a recipe's phases.

    Args:
        recipe: its augmentation is left out, as its cost is in pixels, not in networks.
        specs: of its streams, by name.
        precision: fp32, bf16 or fp16.
    """

    def __init__(self, recipe: config.Recipe, specs: Mapping[str, Spec], precision: str = "fp32") -> None:
        self.recipe, self.precision = dataclasses.replace(recipe, augment=config.NoAugment()), precision
        self.specs = dict(specs)
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with torch.device("meta"):
            self.game = build.game(self.recipe, self.specs)
        with self._without_data():
            self.game.to_empty(device="cpu")
            player_optimizers = optimizers.make(recipe.optimizer, self.game)
        held = [value for o in player_optimizers.values() for state in o.state.values() for value in state.values()]
        weights = _bytes(self.game.parameters())
        lengths = 1 + len(recipe.emas) + (len(recipe.power_ema.sigma_rel) if recipe.power_ema else 0)
        averages = lengths * sum(_bytes(self.game.players[name].state_dict().values()) for name in self.game.averaged)
        averaged = lengths * shapes_of(p for name in self.game.averaged for p in self.game.players[name].parameters())
        self.state = State(weights, _bytes(self.game.state_dict().values()) - weights, _bytes(held), averages,
                           shapes_of([*self.game.parameters(), *held]) + averaged, averaged,
                           tuple(sum(p.numel() for p in player.parameters()) for player in self.game.players.values()))
        self._measured: dict[tuple[str, int], MicroBatchCost] = {}

    @property
    def sample_elements(self) -> int:
        """Elements in one sample of every stream together."""
        return sum(math.prod(spec.shape) for spec in self.specs.values())

    def micro_batch(self, phase: Phase, samples: int) -> MicroBatchCost:
        """The cost of a forward and backward over `samples` samples."""
        key = phase.name, samples
        if key not in self._measured:
            with self._without_data():
                draws = _NoDraws(0, 0, phase.name, torch.zeros(samples, dtype=torch.long))
                streams = {name: Sample(spec.empty(samples), spec.empty_condition(samples))
                           for name, spec in self.specs.items()}
                given = {name: sample.condition for name, sample in streams.items() if sample.condition is not None}
                self._measured[key] = measure(self.game, phase, Batch(streams, draws, given=given), self.precision)
        return self._measured[key]

    @contextlib.contextmanager
    def _without_data(self) -> Iterator[None]:
        resample._kernel.cache_clear()                  # kernels cached outside hold data, those cached inside do not
        try:
            with self._mode:
                yield
        finally:
            resample._kernel.cache_clear()


def measure(game: Game, phase: Phase, batch: Batch, precision: str) -> MicroBatchCost:
    """Measures one micro-batch, run as the engines run it; leaves no gradients behind."""
    moving = [p for name in phase.players for p in game.players[name].parameters() if p.requires_grad]
    trained = [p for p in game.parameters() if p.requires_grad]
    game.requires_grad_(False)
    for parameter in moving:
        parameter.requires_grad_(True)
    for module in tracked_modules(game):
        module.drain()
        module.drain_kept()
    held = [sample.data for sample in batch.streams.values()]
    sharding = Sharding(game, phase, moving)
    with Meter([*game.parameters(), *game.buffers(), *held]) as meter, sharding.following(meter):
        with autocast(precision, held[0].device):
            terms = phase.loss(batch)
            total = torch.stack([term.float() for term in terms.values()]).sum()
        total.backward(inputs=moving)
    observed = [value for module in _observing(game, phase) for value in module.drain().values()]
    cost = MicroBatchCost(meter.flops, meter.peak, sum(p.numel() for p in moving),
                     sum(value.numel() for value in observed) + len(terms) + len(batch.figures), sharding.cost())
    for parameter in trained:
        parameter.requires_grad_(True)
        parameter.grad = None
    return cost


def _observing(game: Game, phase: Phase) -> list[Tracked]:
    """The modules whose observations a phase exchanges: those of its players, and those that belong to no player."""
    others = {id(m) for name, player in game.players.items() if name not in phase.players
              for m in tracked_modules(player)}
    return [m for m in tracked_modules(game) if id(m) not in others]


class _NoDraws(Draws):
    """Zeros with the shapes and types of real draws."""

    def _drawn(self, kind: str, shapes: Mapping[str, tuple[int, ...]], high: int = 0) -> dict[str, Tensor]:
        dtype = torch.long if kind == "integers" else torch.float32
        return {name: torch.zeros(len(self), *shape, dtype=dtype) for name, shape in shapes.items()}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
