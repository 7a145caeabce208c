"""The players' optimizers, and their schedules."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from scalegan import config
from scalegan.games.base import Game
from scalegan.schedules import at

Optimizers = dict[str, torch.optim.Optimizer]
CLIP_NORM = "clip_norm"     # key of a parameter group: the bound on the gradient's norm, which engines enforce; or None


def make(settings: Mapping[str, config.Optimizer], game: Game, allocate: bool = True) -> Optimizers:
    """Makes an optimizer for each player with parameters, its state allocated for checkpoints to load into.

    Args:
        allocate: False for engines that keep parts of the state, and allocate those themselves.
    """
    made = {name: _make(settings[name], player, allocate) for name, player in game.players.items()
            if any(True for _ in player.parameters())}
    for name, bound in game.bounds.items():
        made[name].register_step_post_hook(partial(_clip_weights, bound=bound))
    schedule(made, settings, game, 0)
    return made


def schedule(optimizers: Optimizers, settings: Mapping[str, config.Optimizer], game: Game, images: int,
             lr_factor: float = 1.0) -> None:
    """Sets learning rates, times `lr_factor`, and betas at `images` images seen.

    With a lazy penalty every k updates, both are corrected by c = k / (k + 1) (Karras et al., 2020, appendix B).
    """
    for name, optimizer in optimizers.items():
        every = max((phase.every for phase in game.phases if name in phase.players), default=1)
        c = every / (every + 1) if every > 1 else 1.0
        group = optimizer.param_groups[0]
        group["lr"] = at(settings[name].lr, images) * c * lr_factor
        if settings[name].momentum:
            group["momentum"] = at(settings[name].momentum, images)
        if "betas" in group:
            group["betas"] = tuple(float(at(beta, images)) ** c for beta in settings[name].betas)


@torch.no_grad()
def _clip_weights(optimizer: torch.optim.Optimizer, *_: object, bound: float) -> None:
    """Clips whatever weights the optimizer holds, such as a shard of master weights, right after its step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.clamp_(-bound, bound)


def _make(settings: config.Optimizer, player: nn.Module, allocate: bool) -> torch.optim.Optimizer:
    moving = [parameter for parameter in player.parameters() if parameter.requires_grad]
    parameters = [{"params": moving, CLIP_NORM: settings.clip_norm}]
    if settings.name in ("adam", "adamw"):
        kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
        optimizer = kind(parameters, eps=settings.eps, weight_decay=settings.weight_decay, fused=True)
    elif settings.name == "rmsprop":
        optimizer = torch.optim.RMSprop(parameters, weight_decay=settings.weight_decay, foreach=True)
    else:
        momentum = 0.5 if settings.momentum else 0.0    # any but 0 makes SGD keep state; `schedule` sets the value
        optimizer = torch.optim.SGD(parameters, momentum=momentum, weight_decay=settings.weight_decay, foreach=True)
    if allocate:
        materialise(optimizer)
    return optimizer


@torch.no_grad()
def materialise(optimizer: torch.optim.Optimizer) -> None:
    """Allocates the state that the first step would, all zeros; leaves the weights unchanged.

    All of it is on the weights' device. RMSprop would keep its step counts on the CPU, where undoing a step would make
    the host wait for the GPU, and where they could not be compared with the rest at a checkpoint.
    """
    parameters = optimizer.param_groups[0]["params"]
    kept = [p.clone() for p in parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, value in zip(parameters, kept):
        parameter.copy_(value)
        for key, tensor in optimizer.state[parameter].items():
            optimizer.state[parameter][key] = torch.zeros_like(tensor, device=parameter.device)
    optimizer.zero_grad(set_to_none=True)
