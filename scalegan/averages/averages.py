"""All moving averages of a run: every player with an averaged export, in every length the recipe asks for."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from scalegan import config
from scalegan.averages import power_ema
from scalegan.averages.ema import Ema
from scalegan.averages.power_ema import PowerEma

MAIN = "ema"        # the group of the recipe's `ema`


def group_of(ema: str | None) -> str:
    """The group of an average among a checkpoint's tensors; None means the recipe's main one."""
    return MAIN if ema is None else f"emas/{ema}"


def power_group(sigma: float) -> str:
    return f"power_ema/{sigma}"


def prefix_of(group: str, player: str, first: str) -> str:
    """The prefix of a player's tensors in a group; those of the first averaged player are directly in the group."""
    return f"{group}/" if player == first else f"{group}/{player}/"


class Averages:
    """The averages, by group and player.

    Args:
        recipe: gives the lengths.
        players: to average, by name; the default export's comes first.
    """

    def __init__(self, recipe: config.Recipe, players: Mapping[str, nn.Module]) -> None:
        self.first = next(iter(players), "")
        lengths = {MAIN: recipe.ema, **{group_of(name): ema for name, ema in recipe.emas.items()}}
        self.groups: dict[str, dict[str, Ema]] = {
            group: {name: Ema(player, ema.half_life_images, ema.ramp_up) for name, player in players.items()}
            for group, ema in lengths.items()}
        self._power = recipe.power_ema
        for sigma in self._power.sigma_rel if self._power else ():
            self.groups[power_group(sigma)] = {name: PowerEma(player, sigma) for name, player in players.items()}

    def update(self, taken: int, images: int) -> None:
        """Updates the averages after `taken` more images, `images` in all."""
        for averages in self.groups.values():
            for ema in averages.values():
                ema.update(taken, images)

    def networks(self) -> dict[str, nn.Module]:
        """The main average of each averaged player."""
        return {name: ema.average for name, ema in self.groups[MAIN].items()}

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of all averages, by their names in a checkpoint."""
        return {f"{prefix_of(group, player, self.first)}{name}": tensor for group, averages in self.groups.items()
                for player, ema in averages.items() for name, tensor in ema.tensors().items()}

    def store_snapshot(self, folder: Path, images: int) -> None:
        """Writes the power-function averages, from which others can be reconstructed after training."""
        power_ema.store(folder, images, {sigma: {prefix_of("", player, self.first)[1:]: ema for player, ema in
                                                 self.groups[power_group(sigma)].items()}
                                         for sigma in self._power.sigma_rel})
