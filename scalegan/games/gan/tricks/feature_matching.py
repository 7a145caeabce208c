"""Feature matching (Salimans et al., 2016, section 3.1)."""

from torch import Tensor, nn

from scalegan.games.base import Batch
from scalegan.games.gan.tricks import Trick
from scalegan.losses import Terms
from scalegan.penalties import feature_matching


class FeatureMatching(Trick):
    """G makes the mean of D's last features f over fakes that over reals: |E f(x) - E f(G(z))|^2, beside its own loss.

    Args:
        weight: of the term.
        group: consecutive samples whose means are compared.
    """

    def __init__(self, weight: float = 1.0, group: int = 16) -> None:
        super().__init__()
        self.weight, self.group = weight, group

    def forge(self, game: nn.Module, batch: Batch, fakes: Tensor) -> Terms:
        of_reals = game.D.encode(game.shown(batch.reals, batch, "real"), batch.labels).detach()
        of_fakes = game.D.encode(fakes, batch.fake_labels)
        return {"feature_matching": self.weight * feature_matching(of_fakes, of_reals, self.group)}
