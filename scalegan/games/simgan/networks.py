"""SimGAN's networks (Shrivastava et al., 2017, appendix)."""

from torch import Tensor, nn
from torch.nn.functional import relu

from scalegan.models.layers.initial import Generators, global_generator, glorot_uniform


class Network(nn.Module):
    """Begins with weights by Glorot & Bengio (2010)."""

    def initialise(self, generator: Generators) -> None:
        glorot_uniform(self, generator)


class Block(nn.Module):
    """ReLU(x + conv(ReLU(conv(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.layers(x))


class Refiner(Network):
    """Images [N, channels, H, W] in [-1, 1] -> the same, refined; of any size, without strides or norms.

    Attributes:
        scale, reach, multiple: size of the result relative to the input; how many pixels away a pixel's result still
            depends on; what the offset of a tile must be a multiple of.
    """

    scale = multiple = 1

    def __init__(self, channels: int = 1, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.reach = 1 + 2 * blocks
        self.layers = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(),
                                    *(Block(width) for _ in range(blocks)), nn.Conv2d(width, channels, 1), nn.Tanh())
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Discriminator(Network):
    """Images [N, channels, H, W] in [-1, 1] -> logits [N, H / 4, W / 4], rounded up, one a patch of 23 px.

    The last layer has two outputs, for real and fake, as the published one: their difference is the logit.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 96, 3, 2, 1), nn.ReLU(), nn.Conv2d(96, 64, 3, 2, 1), nn.ReLU(),
                                    nn.MaxPool2d(3, 1, 1), nn.Conv2d(64, 32, 3, 1, 1), nn.ReLU(),
                                    nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 2, 1))
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        fake, real = self.layers(x).unbind(1)
        return real - fake
