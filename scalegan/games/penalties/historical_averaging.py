"""Historical averaging (Salimans et al., 2016, section 3.3)."""

import torch
from torch import Tensor, nn

from scalegan.games.base import Batch, Game, Phase
from scalegan.games.penalties import DiscriminatorPass, Penalty
from scalegan.losses import Terms


class HistoricalAveraging(Penalty):
    """Adds |theta - 1/t sum theta[i]|^2, the squared distance to the mean of the past weights, to both players' losses.

    Args:
        generator, discriminator: networks whose weights enter the mean, once after each update.
        weight: weight of the term.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        for name, player in (("G", generator), ("D", discriminator)):
            size = sum(parameter.numel() for parameter in player.parameters())
            self.register_buffer(f"mean_{name}", torch.zeros(size))
            self.register_buffer(f"updates_{name}", torch.zeros(()))

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        return {"history": self._distance(game, "D")}

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        return {"history": self._distance(game, "G")}

    def _distance(self, game: Game, player: str) -> Tensor:
        """Zero before the first update, when there are no past weights."""
        difference = _vector(game.players[player]) - getattr(self, f"mean_{player}")
        return self.weight * difference.square().sum() * (getattr(self, f"updates_{player}") > 0)

    @torch.no_grad()
    def after(self, game: Game, phase: Phase, figures: Terms) -> None:
        for player in phase.players:
            updates = getattr(self, f"updates_{player}").add_(1)
            weights = _vector(game.players[player])
            getattr(self, f"mean_{player}").lerp_(weights.float(), 1 / updates)


def _vector(player: nn.Module) -> Tensor:
    """All parameters [size], each in the order of its indices: a convolution's weights lie in channels_last, of which
    `torch.nn.utils.parameters_to_vector` has no view."""
    return torch.cat([parameter.reshape(-1) for parameter in player.parameters()])
