"""Auto-encoders as discriminators, for energy-based GANs (Zhao, Mathieu & LeCun, 2017)."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators, global_generator
from scalegan.models.layers.sides import pair


class AutoEncoder(nn.Module):
    """D(x) = mean squared |Dec(Enc(x)) - x|: an energy, whose negative is the logit [N].

    Args:
        encoder, decoder: samples [N, ...] -> encodings [N, ...] -> samples.
        gain: initial weights are N(0, gain^2 / fan_in); None for N(0, 0.02) as in DCGAN.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, gain: float | None) -> None:
        super().__init__()
        self.encoder, self.decoder, self.gain = encoder, decoder, gain
        self.initialise(global_generator)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.encoder(x)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        difference = self.decoder(self.encode(x)) - x
        return -difference.float().square().flatten(1).mean(1)

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """Norms start as the identity, biases at zero."""
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if parameter.dim() == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                deviation = 0.02 if self.gain is None else self.gain / math.sqrt(parameter.shape[1])
                parameter.normal_(0.0, deviation, generator=generator(name))


def convolutional(sides: int | Sequence[int], channels: int, width: int, norm_group: int | str,
                  halvings: int = 3) -> AutoEncoder:
    """The paper's auto-encoder for CelebA (appendix C): (w)4c2s-(2w)4c2s-(4w)4c2s, and its mirror image; w = 64 there.

    Encodings are [N, 4w, H / 8, W / 8] of images [N, channels, H, W] with three halvings, and half that size with twice
    the channels with four.
    """
    for side in pair(sides):
        if side % 2**halvings:
            raise ValueError(f"the auto-encoder halves images {halvings} times, but {side} px is not a multiple of "
                             f"{2**halvings}; set data.resolution to one")
    widths = [channels, *(width * 2**number for number in range(halvings))]
    encoder: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        encoder += [nn.Conv2d(inputs, outputs, 4, 2, 1), *([GroupedBatchNorm(outputs, norm_group)] if number else []),
                    nn.LeakyReLU(0.2)]
    decoder: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths[:0:-1]):
        decoder += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), GroupedBatchNorm(outputs, norm_group),
                    nn.LeakyReLU(0.2)]
    decoder += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
    return AutoEncoder(nn.Sequential(*encoder), nn.Sequential(*decoder), None)


def dense(shape: Sequence[int], hidden: int, layers: int, code: int) -> AutoEncoder:
    """Fully connected: `layers` hidden layers of `hidden` ReLU units on either side of encodings [N, code]."""
    size = math.prod(shape)
    inward, outward = [size, *[hidden] * layers, code], [code, *[hidden] * layers, size]
    output: list[nn.Module] = [nn.Tanh()] if len(shape) == 3 else []
    encoder = nn.Sequential(nn.Flatten(), *_dense(inward), nn.LeakyReLU(0.2))
    return AutoEncoder(encoder, nn.Sequential(*_dense(outward), *output, nn.Unflatten(1, tuple(shape))), math.sqrt(2))


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    return [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())][:-1]
