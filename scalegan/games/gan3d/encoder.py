"""3D-VAE-GAN's encoder (Wu et al., 2016, section 3.3): from a picture of a shape to a distribution of its z.

For pictures of 256 px it is the paper's: convolutions of 64, 128, 256 and 512 channels, of 11 x 11 with stride 4 and
then 5 x 5 with stride 2, BatchNorm and ReLU, and one of 8 x 8 to means and variances of z. Smaller pictures have fewer
layers of stride two. A volume's pictures are those of `scalegan.data.rendering`, from a corner.
"""

import itertools

from torch import Tensor, nn

from scalegan.games.gan3d.networks import Network
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import global_generator

VIEW = "corner"
_LAST = 8           # side of the last feature maps


class Encoder(Network):
    """Pictures [N, 1, S, S] in [-1, 1] -> means and logarithms of variances of z, [N, 2 * latent_dim].

    Args:
        side: S, a power of two, at least 64.
    """

    def __init__(self, side: int, latent_dim: int = 200, width: int = 64, norm_group: int = 16) -> None:
        super().__init__()
        halvings = (side // 4 // _LAST).bit_length() - 1
        channels = [width << number for number in range(halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(1, width, 11, 4, 5, bias=False), GroupedBatchNorm(width, norm_group),
                                   nn.ReLU()]
        for narrow, wide in itertools.pairwise(channels):
            layers += [nn.Conv2d(narrow, wide, 5, 2, 2, bias=False), GroupedBatchNorm(wide, norm_group), nn.ReLU()]
        self.side = side
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 2 * latent_dim, _LAST, bias=False))
        self.initialise(global_generator)

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.shape[1:] != (1, self.side, self.side):
            raise ValueError(f"pictures must be [N, 1, {self.side}, {self.side}], not {list(pictures.shape)}")
        return self.layers(pictures).flatten(1)


class Mean(nn.Module):
    """The mean of z [N, latent_dim] that an encoder gives, which shapes are made from after training.

    Attributes:
        input_shape: (1, S, S).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.input_shape = encoder, (1, encoder.side, encoder.side)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.encoder(pictures).chunk(2, 1)[0]


class Rebuilder(nn.Module):
    """Pictures [N, 1, S, S] in [-1, 1] -> volumes [N, 1, R, R, R] in [0, 1].

    Attributes:
        picture_side: S.
        input_shape: (1, S, S).
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.mean, self.generator, self.picture_side = Mean(encoder), generator, encoder.side
        self.input_shape = self.mean.input_shape

    def forward(self, pictures: Tensor) -> Tensor:
        return self.generator(self.mean(pictures))
