"""Instance noise (Sonderby et al., 2017; Arjovsky & Bottou, 2017), which makes reals and fakes overlap."""

from torch import Tensor

from scalegan.augment import Augment
from scalegan.config import Schedule
from scalegan.randomness import Draws
from scalegan.schedules import at


class InstanceNoise(Augment):
    """Adds Gaussian noise to reals and fakes, after another augmentation.

    Args:
        before: the augmentation that is applied first.
        deviation: standard deviation of the noise; a schedule anneals it.
    """

    def __init__(self, before: Augment, deviation: float | Schedule) -> None:
        super().__init__()
        self.before, self.deviation = before, deviation

    def forward(self, images: Tensor, draws: Draws, seen: int) -> Tensor:
        noise = draws.normal("instance_noise", *images.shape[1:])
        return self.before(images, draws, seen) + at(self.deviation, seen) * noise

    def shifted(self, images: Tensor, draws: Draws) -> Tensor:
        return self.before.shifted(images, draws)

    def watch(self, real_logits: Tensor, seen: int) -> dict[str, Tensor]:
        return self.before.watch(real_logits, seen)
