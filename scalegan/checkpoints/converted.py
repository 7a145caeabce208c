"""Describes players of a game that come from another implementation, without a recipe, so that they can be saved."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from scalegan.checkpoints.exports import MINIMAL_RECIPE, attach, described
from scalegan.config.loading import with_current_defaults
from scalegan.data.spec import Spec
from scalegan.games.lookup import game_of


def networks_of(players: Mapping[str, nn.Module], keys: Mapping[str, Any], specs: Mapping[str, Spec], images: int,
                ) -> dict[str, nn.Module]:
    """The game's networks, by name, that consist of these players, for `exports.save`.

    Args:
        keys: the keys `model` and `game` of a recipe that has these players.
        specs: of the game's streams.
        images: how many the players were trained on.
    """
    game = game_of(keys["game"]["name"])
    about = described(with_current_defaults({**MINIMAL_RECIPE, **keys}), specs, game, images=images, seed=0)
    exports = {name: export for name, export in game.exports.items() if set(export.players) <= set(players)}
    about["networks"] = {name: asdict(export) for name, export in exports.items()}
    found = {}
    for name, export in exports.items():
        parts = {player: players[player] for player in export.players}
        found[name] = attach(game.compose(export, list(parts.values())), parts, about, name)
    return found
