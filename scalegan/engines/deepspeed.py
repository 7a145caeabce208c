"""DeepSpeed's ZeRO: each rank keeps its part of the optimizers' state (stage 1) and of the gradients (stage 2).

One DeepSpeed engine per player. To be exact with several players and with penalties:
- players that a phase does not move are frozen, otherwise their gradients are silently reduced with the movers';
- forwards call the networks directly: through DeepSpeed's wrapper, second derivatives fail or are wrong;
- DeepSpeed is told where accumulation ends, as every phase counts its own micro-batches;
- precision is handled here (autocast, and a loss scale per phase for fp16): DeepSpeed sees fp32 weights and gradients.
"""

import contextlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalegan.engines import partitioned
from scalegan.engines.base import Engine, Outputs, mean_over_ranks, norm_of
from scalegan.engines.optimizers import materialise
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import PATIENCE, Ranks
from scalegan.errors import UserError
from scalegan.games.base import Batch, Game, Phase

_BUCKET = 2**24  # elements reduced at once; DeepSpeed's default would take 2 GB per player


class DeepSpeedEngine(Engine):
    """ZeRO of stage 0 (nothing is partitioned), 1 or 2.

    Args:
        zero_stage: 0, 1 or 2.

    Raises:
        UserError: if deepspeed is not installed.
    """

    def __init__(self, game: Game, optimizers: Mapping[str, torch.optim.Optimizer], ranks: Ranks, micro_batch: int,
                 precision: str = "fp32", zero_stage: int = 1) -> None:
        library = _import(ranks.device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if ranks.device.type == "cuda" else "gloo", store=dist.HashStore(),
                                    rank=0, world_size=1)
        super().__init__(game, optimizers, ranks, micro_batch, precision)
        self.zero_stage = zero_stage
        self._engines = {name: _initialise(library, player, optimizers[name], zero_stage, ranks)
                         for name, player in game.players.items() if name in optimizers}

    def optimizer_state(self) -> dict[str, Tensor | Partitioned]:
        if self.zero_stage == 0:
            return super().optimizer_state()
        found: dict[str, Tensor | Partitioned] = {}
        for player, optimizer in self.optimizers.items():
            shapes = self._shapes(player)
            for key, value in optimizer.state[optimizer.param_groups[0]["params"][0]].items():
                each = dict.fromkeys(shapes, value) if value.dim() == 0 else self._split(value, shapes)
                found |= {f"optimizer/{player}/{name}/{key}": tensor for name, tensor in each.items()}
        return found

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if self.zero_stage:
            for engine in self._engines.values():
                engine.optimizer.refresh_fp32_params()  # master weights, from the loaded weights

    def _accumulate(self, phase: Phase, batch: Batch) -> Outputs:
        engines = [self._engines[player] for player in self._movers(phase)]
        moving = [parameter for player in phase.players for parameter in self._parameters[player]]
        count, sums = self._num_micro_batches(batch), {}
        for index in range(count):
            for engine in engines:
                engine.set_gradient_accumulation_boundary(index == count - 1)
            self._before_micro_batch(self._movers(phase))
            total, outputs = self._forward(phase, self._micro_batch_at(batch, index))
            # Of what moves alone, as with DDP; not divided by `count`, so that loss scales mean the same.
            total.backward(inputs=moving)
            for engine in engines:
                engine.allreduce_gradients()
            sums = {key: sums[key] + value if sums else value for key, value in outputs.items()}
        for player in self._movers(phase):
            gradients = self._own_gradients(player)
            if count > 1:
                torch._foreach_mul_(gradients, 1 / count)
            if self.scales:
                torch._foreach_mul_(gradients, 1 / self.scales[phase.name].scale)
            norm = norm_of(gradients).square()      # in stage 0, every rank has all gradients
            sums["norm", player] = norm * count * (self.ranks.world_size if self.zero_stage else 1)
        means = mean_over_ranks(sums, count * self.ranks.world_size, self.ranks.world_size)
        return {key: value.sqrt() if key[0] == "norm" else value for key, value in means.items()}

    def _before_micro_batch(self, players: list[str]) -> None:
        """For subclasses: what DeepSpeed's own forward does."""

    def _own_gradients(self, player: str) -> list[Tensor]:
        """The mean gradients that this rank holds: all of them, or its part."""
        if self.zero_stage == 0:
            return [parameter.grad for parameter in self._parameters[player]]
        return self._engines[player].optimizer.averaged_gradients[0]

    def _step(self, player: str) -> None:
        self._engines[player].step()

    def _take_gradients(self, player: str) -> list[Tensor]:
        own = self._own_gradients(player)
        if self.zero_stage:
            zero = self._engines[player].optimizer
            part = torch.cat([gradient.reshape(-1) for gradient in own])
            part = torch.cat([part, part.new_zeros(zero.partition_size[0] - len(part))])
            own = list(partitioned.gather(self._split(part, self._shapes(player))).values())
            zero.averaged_gradients[0] = zero.all_grad_tensors[0] = None
        for parameter in self._parameters[player]:
            parameter.grad = None
        return own

    def _split(self, part: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Partitioned]:
        return partitioned.split(part, shapes, self.ranks.rank, self.ranks.world_size)

    def _shapes(self, player: str) -> dict[str, torch.Size]:
        return {name: parameter.shape for name, parameter in self.game.players[player].named_parameters()}


def _import(device: torch.device) -> ModuleType:
    """Imports deepspeed for this device, without the lines it would print."""
    os.environ["DS_ACCELERATOR"] = device.type
    try:
        import deepspeed
        with _without_compiler():  # it would take seconds to load, for an optimizer that is not used
            import deepspeed.runtime.zero.muon.muon_optimizer
    except ImportError as error:
        raise UserError(f"engine.name=deepspeed: {error}; install it with pip install 'scalegan[deepspeed]'") from error
    deepspeed.utils.logger.setLevel("ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    # None of its compiled operations is used, and looking for them would start compilers.
    deepspeed.ops.__compatible_ops__ = defaultdict(bool)
    return deepspeed


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Sets environment variables inside the context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _without_compiler() -> contextlib.AbstractContextManager[None]:
    """Disables torch.compile inside the context."""
    return _environment(TORCHDYNAMO_DISABLE="1")


def _as_rank_on(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Makes LOCAL_RANK the device's index, which DeepSpeed takes it for; it is another number where each rank sees only
    its own GPU."""
    usual = os.environ.get("LOCAL_RANK", "0")
    return _environment(LOCAL_RANK=str(device.index or 0) if device.type == "cuda" else usual)


@contextlib.contextmanager
def _patient_groups() -> Iterator[None]:
    """DeepSpeed makes a group of all ranks for itself, with torch's default time-out."""
    original = dist.new_group
    dist.new_group = partial(original, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.new_group = original


def _initialise(library: ModuleType, player: nn.Module, optimizer: torch.optim.Optimizer, stage: int,
                ranks: Ranks) -> Any:
    """Wraps a player and its optimizer in a DeepSpeed engine; recreates the optimizer's state for this rank's part."""
    settings = {
        "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "gradient_clipping": 0.0,
        "torch_adam": True, "zero_allow_untested_optimizer": True, "steps_per_print": None,
        "timers": {"throughput": {"enabled": False}},  # would wait for the device at each step
    }
    if stage:
        size = min(_BUCKET, sum(parameter.numel() for parameter in player.parameters()))
        own = {"stage3_param_persistence_threshold": 0} if stage == 3 else {"compute_grad_norm": False}
        settings["zero_optimization"] = {
            "stage": stage, "reduce_bucket_size": size, "allgather_bucket_size": size + size % 2,
            "overlap_comm": False, **own}
    # Ranks start with equal weights; this attribute keeps DeepSpeed from broadcasting them, which fails for scalars.
    scalars: list[Tensor] = []
    for parameter in player.parameters():
        parameter.ds_optim_param = True
        if stage == 3:      # it broadcasts contiguous tensors with axes only
            scalars += [parameter] if parameter.dim() == 0 else []
            parameter.data = parameter.data.reshape(parameter.shape or 1).clone(memory_format=torch.contiguous_format)
        if stage == 2:      # before DeepSpeed's own hook, which would fail
            parameter.register_post_accumulate_grad_hook(_zero_if_none)
    with _as_rank_on(ranks.device), _patient_groups():
        engine, *_ = library.initialize(model=player, optimizer=optimizer, config=settings, dist_init_required=False)
    for parameter in player.parameters():
        del parameter.ds_optim_param
    for parameter in scalars:
        parameter.ds_shape = torch.Size(())
    engine.module_forward_pre_hook.remove()
    engine.module_forward_post_hook.remove()
    if stage or not optimizer.state:
        optimizer.state.clear()
        groups, usual = [optimizer.param_groups[0]["params"]], optimizer.param_groups[0]["params"]
        if stage == 3:      # steps along one group of weights after the other
            groups = [[weights] for weights in engine.optimizer.fp32_partitioned_groups_flat]
        for optimizer.param_groups[0]["params"] in groups:
            materialise(optimizer)
        optimizer.param_groups[0]["params"] = usual
    return engine


def _zero_if_none(parameter: Tensor) -> None:
    """A parameter that a penalty reaches without depending on it, such as a bias before a leaky ReLU, has no gradient
    after the backward; DeepSpeed's stage 2 reduces it all the same."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
