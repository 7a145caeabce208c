"""Reads a player's live or averaged weights from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scalegan.averages import power_ema
from scalegan.averages.averages import group_of, power_group, prefix_of
from scalegan.checkpoints import store
from scalegan.config import Recipe
from scalegan.errors import UsageError, UserError
from scalegan.support.reading import DamagedFile

LIVE = ".live"      # marks live weights of a player that other networks average


def from_checkpoint(path: Path, metadata: Mapping[str, Any], about: Mapping[str, Any], part: str, module: nn.Module,
                    ema: str | None, sigma_rel: float | None) -> dict[str, Tensor]:
    """A player's live or averaged weights, as `<part>/<name>`."""
    averaged, player = about["averaged"], part.removesuffix(LIVE)
    if part not in averaged:
        if player not in about["prefixes"]:
            raise DamagedFile(f"{path / 'state.json'}: networks.prefixes has no '{player}'")
        return _group(path, f"game/{about['prefixes'][player]}.", part)
    if sigma_rel is not None:
        return _reconstructed(path, metadata | {"recipe": about["recipe"]}, player, module, averaged[0], sigma_rel)
    return _group(path, prefix_of(group_of(ema), player, averaged[0]), player)


def of_players(path: Path, about: Mapping[str, Any]) -> dict[str, Tensor]:
    """All players' live weights as `<player>.live/<name>`, and the main averages as `<player>/<name>`."""
    averaged, found = about["averaged"], {}
    for player, prefix in about["prefixes"].items():
        found |= _group(path, f"game/{prefix}.", f"{player}{LIVE}")
    for player in averaged:
        found |= _group(path, prefix_of(group_of(None), player, averaged[0]), player)
    return found


def check_average(path: Path, about: Mapping[str, Any], recipe: Recipe, networks: list[str], ema: str | None,
                  sigma_rel: float | None) -> None:
    """Raises UserError if the requested average does not exist."""
    if ema is not None and ema not in recipe.emas:
        has = ", ".join(recipe.emas) or "only the main one"
        raise UsageError(f"{path} has no average '{ema}'; it has {has}")
    if not any(about["networks"][name]["averaged"] for name in networks) and (ema is not None or sigma_rel is not None):
        raise UsageError(f"{path} has no averages of network '{networks[0]}'; load it without ema or sigma_rel")


def _group(path: Path, prefix: str, player: str) -> dict[str, Tensor]:
    """Tensors directly under a prefix, as `<player>/<name>`."""
    found = store.read(path, prefix)
    return {f"{player}/{rest}": tensor for name, tensor in found.items()
            if "/" not in (rest := name.removeprefix(prefix))}


def _reconstructed(path: Path, metadata: Mapping[str, Any], player: str, module: nn.Module, first: str,
                   sigma_rel: float) -> dict[str, Tensor]:
    """The parameters of a player's average of length `sigma_rel`, with the checkpoint's buffers."""
    lengths = (metadata["recipe"].get("power_ema") or {}).get("sigma_rel")
    if not lengths:
        raise UserError(f"{path} has no power-function averages to reconstruct one from; train with "
                        "power_ema.every_images=N")
    if not 0 < sigma_rel < power_ema.LONGEST:
        raise UsageError(f"sigma_rel={sigma_rel} is out of range; choose a value between 0 and "
                         f"{power_ema.LONGEST:.3f}, preferably near the run's {lengths[0]} and {lengths[1]}")
    prefix, run = prefix_of("", player, first)[1:], path.resolve().parent.parent
    averages = {sigma: _group(path, prefix_of(power_group(sigma), player, first), player) for sigma in lengths}
    newest_ones = {sigma: {f"{prefix}{name}": found[f"{player}/{name}"] for name, _ in module.named_parameters()}
                   for sigma, found in averages.items()}
    try:
        made = power_ema.reconstruct(run, metadata["images"], metadata["iterations"], sigma_rel, newest_ones)
    except DamagedFile as error:
        raise UserError(f"{error}; delete this snapshot, the others may suffice") from error
    return averages[lengths[0]] | {f"{player}/{name.removeprefix(prefix)}": tensor for name, tensor in made.items()}
