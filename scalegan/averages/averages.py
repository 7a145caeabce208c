"""All moving averages of a run: of every player that an export wants averaged, in every length that is asked for."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from scalegan import config
from scalegan.averages import power_ema
from scalegan.averages.ema import Ema
from scalegan.averages.power_ema import PowerEma

MAIN = "ema"        # the group of the recipe's `ema`


def group_of(ema: str | None) -> str:
    """Where the average of that name lies among a checkpoint's tensors; None for the recipe's main one."""
    return MAIN if ema is None else f"emas/{ema}"


def power_group(sigma: float) -> str:
    return f"power_ema/{sigma}"


def prefix_of(group: str, player: str, first: str) -> str:
    """Of the names of a player's average: the first averaged player's stand directly in the group."""
    return f"{group}/" if player == first else f"{group}/{player}/"


class Averages:
    """The averages, by group and player.

    Args:
        recipe: says how long they are.
        players: that are averaged, the first of them the default export's.
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
        """Follows the players after `taken` images more, `images` in all."""
        for averages in self.groups.values():
            for ema in averages.values():
                ema.update(taken, images)

    def networks(self) -> dict[str, nn.Module]:
        """The recipe's main average of each averaged player."""
        return {name: ema.average for name, ema in self.groups[MAIN].items()}

    def tensors(self) -> dict[str, Tensor]:
        """Their tensors, as a checkpoint names them."""
        return {f"{prefix_of(group, player, self.first)}{name}": tensor for group, averages in self.groups.items()
                for player, ema in averages.items() for name, tensor in ema.average.state_dict().items()}

    def store_snapshot(self, folder: Path, images: int) -> None:
        """Writes the power-function averages, of which others are made after training."""
        power_ema.store(folder, images, {sigma: {prefix_of("", player, self.first)[1:]: ema for player, ema in
                                                 self.groups[power_group(sigma)].items()}
                                         for sigma in self._power.sigma_rel})
