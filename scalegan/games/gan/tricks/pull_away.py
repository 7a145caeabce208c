"""The pull-away term of EBGAN-PT (Zhao, Mathieu & LeCun, 2017, section 2.4)."""

from torch import Tensor, nn

from scalegan.games.base import Batch
from scalegan.games.gan.tricks import Trick
from scalegan.losses import Terms
from scalegan.penalties import pull_away


class PullAway(Trick):
    """G keeps the encodings of its fakes apart: their mean squared cosine over pairs i != j, times `weight`.

    Args:
        weight: 0.1 in the paper.
        group: consecutive samples that the pairs are of.
    """

    def __init__(self, weight: float = 0.1, group: int = 16) -> None:
        super().__init__()
        self.weight, self.group = weight, group

    def forge(self, game: nn.Module, batch: Batch, fakes: Tensor) -> Terms:
        return {"pull_away": self.weight * pull_away(game.D.encode(fakes, batch.fake_labels), self.group)}
