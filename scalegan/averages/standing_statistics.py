"""Standing statistics (Brock et al., 2019, appendix B): BatchNorm statistics recomputed for the current weights.

Running statistics lag behind the weights, and those that an averaged generator inherits belong to different weights
altogether; so every averaged network that draws from z gets its own before it is used.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from scalegan.averages.label_summary import Summary, drawn
from scalegan.data.spec import Spec
from scalegan.games.base import Export
from scalegan.games.sampling import at_once, latents
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.tracked import tracked_modules
from scalegan.randomness import Draws
from scalegan.support.progress import Bar

BATCHES = 16        # of BATCH latents each
BATCH = 64


@torch.no_grad()
def standing_statistics(generator: nn.Module, spec: Spec, labels: Summary | None = None, batches: int = BATCHES,
                        seed: int = 0, psi: float = 1.0, parts: Iterable[nn.Module] | None = None,
                        show: bool = False) -> None:
    """Replaces the running statistics with means over fresh latents, and labels distributed like the data's.

    Args:
        generator: takes z, labels and psi; in eval mode afterwards.
        spec: what its samples are.
        labels: summary of the data's labels; without one, classes are uniform.
        batches: how many times 64 latents to average over; each norm splits them by its `norm_group`.
        seed: seed of the draws.
        psi: the truncation that the samples will have.
        parts: the modules whose statistics to replace; all of them by default.
        show: show a progress bar on stderr.

    Raises:
        ValueError: if there is no BatchNorm, no summary of the attributes that condition the generator, or no such
            truncation.
    """
    norms = _norms([generator] if parts is None else parts)
    if not norms:
        raise ValueError("this generator has no BatchNorm, so it has no standing statistics")
    if (spec.multilabel or spec.vector_dim) and labels is None:
        raise ValueError("standing statistics of this generator need a summary of the data's labels")
    device, size = next(generator.parameters()).device, _forward_size(norms, spec)
    forwards = -(-batches * BATCH // size)
    sums: list[dict[str, Tensor]] = [{} for _ in norms]
    generator.eval()
    for norm in norms:                          # everything else stays in eval mode, as in sampling
        norm.train()
    with contextlib.ExitStack() as stack:
        stack.callback(_end, generator)
        bar = stack.enter_context(Bar("standing statistics", forwards * size)) if show else None
        for first in range(0, forwards * size, size):
            draws = Draws(seed, 0, "standing", torch.arange(first, first + size, device=device))
            generator(latents(generator, draws), drawn(labels, spec, draws), psi=psi)
            for norm, total in zip(norms, sums):
                for name, value in norm.drain().items():
                    total[name] = total.get(name, 0) + value / forwards
            if bar is not None:
                bar.advance(size)
    for norm, total in zip(norms, sums):
        norm.running_mean.copy_(total["mean"])
        norm.running_var.copy_(total["var"])


def _end(generator: nn.Module) -> None:
    """Back to eval mode, with nothing observed."""
    generator.eval()
    for module in tracked_modules(generator):
        module.drain()


def renew(exports: Mapping[str, Export], players: Mapping[str, nn.Module],
          compose: Callable[[Export, Sequence[nn.Module]], nn.Module], spec: Spec, labels: Summary | None,
          batches: int = BATCHES, psi: float = 1.0, show: bool = False) -> bool:
    """Gives averaged players standing statistics, in place; returns whether every one of them with BatchNorm that
    draws from z now has its own: without a summary, players conditioned on attributes keep the running ones.

    Args:
        exports: a game's exports.
        players: averaged players, by name: some of the game's, but all those that `owners` names with them.
        compose: the game's `compose`.
        spec, labels, batches, psi, show: as for `standing_statistics`.
    """
    owner = owners(exports)
    for name in dict.fromkeys(owner[player] for player in players if player in owner):
        own = [module for player, module in players.items() if owner.get(player) == name]
        if not has_norms(own):
            continue
        if (spec.multilabel or spec.vector_dim) and labels is None:
            return False
        network = compose(exports[name], [players[player] for player in exports[name].players])
        standing_statistics(network, spec, labels, batches, psi=psi, parts=own, show=show)
    return True


def owners(exports: Mapping[str, Export]) -> dict[str, str]:
    """For each averaged player that draws from z, the export whose samples its statistics are of: the first."""
    found: dict[str, str] = {}
    for name, export in exports.items():
        if export.averaged and export.inputs[0] == "z":
            for player in export.players:
                found.setdefault(player, name)
    return found


def has_norms(modules: Iterable[nn.Module]) -> bool:
    """Whether any of them has BatchNorm."""
    return bool(_norms(modules))


def _norms(modules: Iterable[nn.Module]) -> list[GroupedBatchNorm]:
    return [one for module in modules for one in module.modules() if isinstance(one, GroupedBatchNorm)]


def _forward_size(norms: Sequence[GroupedBatchNorm], spec: Spec) -> int:
    """Latents per forward pass: whole norm groups, as many as a picture draws at once, 64 at most."""
    group = max(BATCH if norm.norm_group == "batch" else min(norm.norm_group, BATCH) for norm in norms)
    return max(1, min(BATCH, at_once(spec.shape)) // group) * group
