"""BigGAN's orthogonal regularisation (Brock et al., 2019, equation 3)."""

from torch import Tensor

from scalegan.games.base import Batch, Game
from scalegan.games.penalties import DiscriminatorPass, Penalty
from scalegan.losses import Terms
from scalegan.models.layers.spectral import orthogonal_regularisation


class Orthogonal(Penalty):
    """A term in every update of both players, over all their weights except shared embeddings."""

    def __init__(self, weight: float = 1e-4) -> None:
        super().__init__()
        self.weight = weight

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        return self._term(game, "D")

    def generator_terms(self, game: Game, batch: Batch, fakes: Tensor, condition: Tensor | None) -> Terms:
        return self._term(game, "G")

    def _term(self, game: Game, player: str) -> Terms:
        weights = [p for name, p in game.players[player].named_parameters()
                   if p.dim() > 1 and "shared" not in name.split(".")]
        return {"orthogonal": orthogonal_regularisation(weights, self.weight)}
