"""Diagnostics besides the losses: skipped updates, logit gap, singular values, sample diversity."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.engines.health import Health
from scalegan.games.base import Game
from scalegan.models.layers.spectral import SpectralWeight


def health_figures(game: Game, health: Health, means: Mapping[str, float]) -> dict[str, float]:
    """Figures by name: `skipped/<phase>` and, in fp16, `overflows/<phase>`, updates skipped in the whole run;
    `logit_gap/<phase>`, the mean of D(real) - D(fake) since the last report; `sigma/<player>.<layer>`, the largest
    singular value of each layer with spectral norm. Synchronises with the device."""
    found: dict[str, float] = {}
    for phase, counters in health.state().items():
        found[f"skipped/{phase}"] = counters["skipped"]
        if counters["overflows"]:
            found[f"overflows/{phase}"] = counters["overflows"]
    for phase in game.phases:
        real, fake = (means.get(f"loss/{phase.name}/{side}_logit") for side in ("real", "fake"))
        if real is not None and fake is not None:
            found[f"logit_gap/{phase.name}"] = real - fake
    for player, network in game.players.items():
        for name, module in network.named_modules():
            if isinstance(module, SpectralWeight):
                found[f"sigma/{player}.{name.removesuffix('.normed')}"] = float(module.sigma())
    return found


def with_spectral_norm(game: Game) -> list[str]:
    """The players that `health_figures` reads weights of."""
    return [name for name, player in game.players.items()
            if any(isinstance(module, SpectralWeight) for module in player.modules())]


@torch.no_grad()
def diversity(samples: Tensor) -> Tensor:
    """Mean pairwise distance of the samples [N, ...], as a root mean square over their elements; float32 []."""
    flat = samples.detach().float().flatten(1)
    return F.pdist(flat).mean() / flat.shape[1] ** 0.5
