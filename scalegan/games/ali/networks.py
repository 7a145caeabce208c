"""ALI's convolutional networks for 32 px (Dumoulin et al., 2017, appendix A, table of the CIFAR-10 model)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.games.bigan.networks import drawn
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.randomness import Draws

_LEAK = 0.1
# (kernel, stride, multiple of the width) of E's and D's valid convolutions, 32 -> 28 -> 13 -> 10 -> 4 -> 1 px; G's lead
# back by the same way.
_DOWN = ((5, 1, 1), (4, 2, 2), (4, 1, 4), (4, 2, 8), (4, 1, 16))
_UP = ((4, 1, 8), (4, 2, 4), (4, 1, 2), (4, 2, 1), (5, 1, 1))
_INPUT_DROPOUT, _DROPOUT = 0.2, 0.5


class Network(nn.Module):
    """Weights N(0, 0.01), zero biases, gains of 1."""

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if parameter.dim() > 1:
                parameter.normal_(0, 0.01, generator=generator(name))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)


class Generator(Network):
    """z [N, latent_dim] -> images [N, C, 32, 32] in [-1, 1]."""

    def __init__(self, channels: int = 3, width: int = 32, latent_dim: int = 64, latent: str = "normal",
                 norm_group: int = 32) -> None:
        super().__init__()
        self.latent_dim, self.latent = latent_dim, latent
        layers: list[nn.Module] = []
        inputs = latent_dim
        for kernel, stride, multiple in _UP:
            layers += [nn.ConvTranspose2d(inputs, multiple * width, kernel, stride, bias=False),
                       *_normalised(multiple * width, norm_group)]
            inputs = multiple * width
        layers += [nn.Conv2d(inputs, width, 1, bias=False), *_normalised(width, norm_group)]
        self.layers, self.out = nn.Sequential(*layers), nn.Conv2d(width, channels, 1)
        self.initialise(global_generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        if psi != 1.0:
            raise ValueError("ALI has no truncation; leave psi at 1")
        return 2 * self.out(self.layers(z[:, :, None, None])).sigmoid() - 1

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        return self.layers[0].weight.flatten(1).T


class Encoder(Network):
    """Images [N, C, 32, 32] -> codes [N, latent_dim]; see `scalegan.games.bigan.networks.Encoder`."""

    def __init__(self, channels: int = 3, width: int = 32, latent_dim: int = 64, latent: str = "normal",
                 stochastic: bool = True, norm_group: int = 32) -> None:
        super().__init__()
        self.latent_dim, self.latent, self.stochastic = latent_dim, latent, stochastic
        layers: list[nn.Module] = []
        inputs = channels
        for kernel, stride, multiple in (*_DOWN, (1, 1, 16)):
            layers += [nn.Conv2d(inputs, multiple * width, kernel, stride, bias=False),
                       *_normalised(multiple * width, norm_group)]
            inputs = multiple * width
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(inputs, latent_dim * (2 if stochastic else 1))
        self.initialise(global_generator)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return drawn(self.out(self.features(x)), noise, self.stochastic, self.latent == "uniform")

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer [N, 16 * width]."""
        return self.layers((x + 1) / 2).flatten(1)


class Maxout(nn.Module):
    """A convolution after dropout; each output is the maximum of two (Goodfellow et al., 2013).

    Args:
        shape: of the input, [C, H, W].
        dropout: probability with which an input is zero.
    """

    def __init__(self, shape: tuple[int, int, int], channels: int, kernel: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.shape, self.dropout = shape, dropout
        self.conv = nn.Conv2d(shape[0], 2 * channels, kernel, stride)
        self.output = (channels, *((side - kernel) // stride + 1 for side in shape[1:]))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return torch.maximum(*self.conv(x if mask is None else x * mask).chunk(2, 1))


class Discriminator(Network):
    """Images [N, C, 32, 32] and codes [N, latent_dim] -> logits [N] of the pair coming from the data and the encoder.

    Args:
        halve: maxout layers have half of the printed channels.
    """

    def __init__(self, channels: int = 3, width: int = 32, latent_dim: int = 64, halve: bool = False) -> None:
        super().__init__()
        unit = width if not halve else width / 2
        self.of_image = _path((channels, 32, 32), [(k, s, int(m * unit)) for k, s, m in _DOWN], _INPUT_DROPOUT)
        self.of_code = _path((latent_dim, 1, 1), [(1, 1, int(16 * unit))] * 2, _INPUT_DROPOUT)
        both = self.of_image[-1].output[0] + self.of_code[-1].output[0]
        self.of_both = _path((both, 1, 1), [(1, 1, int(32 * unit))] * 2, _DROPOUT)
        self.out = nn.Linear(int(32 * unit), 1)
        self.initialise(global_generator)

    def forward(self, x: Tensor, z: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        masks = list(masks or ())

        def through(layers: nn.ModuleList, h: Tensor) -> Tensor:
            for layer in layers:
                h = layer(h, masks.pop(0) if masks else None)
            return h

        image, code = through(self.of_image, (x + 1) / 2), through(self.of_code, z[:, :, None, None])
        h = through(self.of_both, torch.cat([image, code], 1)).flatten(1)
        return self.out(h * masks.pop(0) if masks else h).flatten()

    def masks(self, draws: Draws) -> list[Tensor]:
        """Dropout's masks [n, ...] for each layer in order: 0, or 1 over the probability of not being 0."""
        layers = [*self.of_image, *self.of_code, *self.of_both]
        wanted = [(layer.shape, layer.dropout) for layer in layers] + [((self.out.in_features,), _DROPOUT)]
        return [(draws.uniform(f"layer{number}", *shape) >= dropout) / (1 - dropout)
                for number, (shape, dropout) in enumerate(wanted)]


def _path(shape: tuple[int, int, int], layers: Sequence[tuple[int, int, int]], first: float) -> nn.ModuleList:
    """Maxout layers of (kernel, stride, channels), with dropout `first` before the first of them."""
    made = nn.ModuleList()
    for number, (kernel, stride, channels) in enumerate(layers):
        made.append(Maxout(shape, channels, kernel, stride, _DROPOUT if number else first))
        shape = made[-1].output
    return made


def _normalised(channels: int, group: int) -> tuple[nn.Module, nn.Module]:
    return GroupedBatchNorm(channels, norm_group=group), nn.LeakyReLU(_LEAK)
