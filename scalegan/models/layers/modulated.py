"""Weight modulation and demodulation (Karras et al., 2020, section 2.2), by scaling activations.

Equations 1 and 3 scale the weight of every sample, w'_ijk = s_i w_ijk d_j with d_j = (sum_ik (s_i w_ijk)^2)^(-1/2).
Convolution being linear, the same follows from scaling the input channels by s, convolving all samples with the shared
weight, and scaling the output channels by d: no grouped convolution, and no weight per sample.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan import kernels
from scalegan.kernels.leaky import leaky_relu
from scalegan.models.layers.convolution import conv2d, conv_transpose2d
from scalegan.models.layers.equalized import SLOPE, EqualizedLinear, fill_normal
from scalegan.models.layers.initial import Generators
from scalegan.models.layers.resample import blur
from scalegan.models.layers.sides import pair

#: Returns the noise of the layer with that name (`8.conv0`), in that shape [N, 1, H, W]. The trainer keys the draws.
NoiseSource = Callable[[str, tuple[int, ...]], Tensor]


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """d of equation 3, [N, out], for weight [out, in, k, k] and styles [N, in]."""
    return (styles.square() @ weight.square().sum([2, 3]).t() + 1e-8).rsqrt()


def modulated_conv2d(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """Demodulated convolution without the last factor d: [N, in, H, W] -> [N, out, H, W]."""
    convolve = conv2d if kernels.on_gpu(x) else F.conv2d        # cuDNN takes long for torch's own second derivative
    return convolve(_scaled(x, styles), weight.to(x.dtype), padding=weight.shape[-1] // 2)


def modulated_upconv2d(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """The same with upsampling: [N, in, H, W] -> [N, out, 2H, 2W]; a 3x3 transposed convolution, then the filter."""
    convolve = conv_transpose2d if kernels.on_gpu(x) else F.conv_transpose2d
    wide = convolve(_scaled(x, styles), weight.transpose(0, 1).to(x.dtype), stride=2)
    return blur(wide, padding=1, gain=4)                # from [N, out, 2H + 1, 2W + 1]


def _scaled(x: Tensor, styles: Tensor) -> Tensor:
    return x * styles.to(x.dtype)[:, :, None, None]


def _rescaled(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled by factors that demodulation cancels, so that fp16 sums stay below 65504 (Karras et al., 2020b)."""
    fan_in = weight[0].numel()
    weight = weight / (weight.detach().abs().amax([1, 2, 3], keepdim=True) * math.sqrt(fan_in))
    return weight, styles / styles.detach().abs().amax(1, keepdim=True)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: x [N, in, H, W], w [N, w_dim] -> [N, out, H', H'].

    `name` is passed to the noise source; `resolution` is the output's side, or height and width; `convolve` is
    `modulated_conv2d`, or `modulated_upconv2d` to upsample.
    """

    def __init__(self, name: str, convolve: Callable[[Tensor, Tensor, Tensor], Tensor], in_channels: int,
                 out_channels: int, w_dim: int, resolution: int | Sequence[int], clamp: float | None) -> None:
        super().__init__()
        self.sides = pair(resolution)               # of its output
        self.name, self.convolve, self.clamp = name, convolve, clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.noise_strength = nn.Parameter(torch.empty([]))
        self.register_buffer("noise_const", torch.empty(self.sides))

    def initialise(self, generator: Generators) -> None:
        fill_normal(self.weight, generator("weight"))
        fill_normal(self.noise_const, generator("noise_const"))
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.noise_strength)

    def forward(self, x: Tensor, w: Tensor, noise: NoiseSource | str) -> Tensor:
        weight, styles = self.weight, self.affine(w)
        if x.dtype == torch.float16:
            weight, styles = _rescaled(weight, styles)
        gain = math.sqrt(2)                             # of the leaky ReLU, applied before it
        d = (demodulation(weight, styles) * gain).to(x.dtype)[:, :, None, None]
        y = self.convolve(x, weight, styles)
        plane = self._noise(noise, y)
        y = y * d if plane is None else torch.addcmul((plane * (self.noise_strength * gain)).to(y.dtype), y, d)
        return leaky_relu(y, self.bias, gain, SLOPE, self.clamp)

    def _noise(self, source: NoiseSource | str, y: Tensor) -> Tensor | None:
        """[N, 1, H, W], or [H, W] shared by all samples."""
        if source == "none":
            return None
        if source == "const":
            return self.noise_const
        shape = (y.shape[0], 1, *self.sides)
        if source == "random":                          # outside the trainer: from torch's global generator
            return self.noise_const.new_empty(shape).normal_()
        return source(self.name, shape).to(self.noise_const)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to colours, without demodulation: x [N, in, H, W], w [N, w_dim] -> [N, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualizedLinear(w_dim, in_channels, gain=1 / math.sqrt(in_channels), bias_init=1)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def initialise(self, generator: Generators) -> None:
        fill_normal(self.weight, generator("weight"))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, c, height, width = x.shape
        # With few colours, per-sample weights are smaller than the activations, and a 1x1 convolution is a product.
        weights = self.affine(w)[:, :, None] * self.weight[:, :, 0, 0].t()         # [N, in, out]
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, c)               # a view of a channels_last x
        y = pixels @ weights.to(x.dtype) + self.bias.to(x.dtype)                   # [N, H W, out]
        if self.clamp is not None:
            y = F.hardtanh(y, -self.clamp, self.clamp)
        return y.reshape(n, height, width, -1).permute(0, 3, 1, 2)
