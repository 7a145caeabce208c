"""Layers with equalised learning rate (Karras et al., 2018, section 4.1).

Weights are drawn from N(0, 1) and scaled by 1/sqrt(fan_in) whenever they are used, so that Adam, whose steps do not
depend on the scale of a gradient, trains all layers at the same pace.

Constant gains (the sqrt(2) that goes with a leaky ReLU, the sqrt(1/2) of a residual sum) are multiplied into the
weight and the bias, not into the activations: a leaky ReLU commutes with positive factors, and weights are small.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan import kernels
from scalegan.kernels.leaky import leaky_relu
from scalegan.models.layers.convolution import conv2d
from scalegan.models.layers.initial import Generators

SLOPE = 0.2


@torch.no_grad()
def fill_normal(tensor: Tensor, generator: torch.Generator | None, std: float = 1.0) -> None:
    """Fills from N(0, std^2), drawn on the device of `generator`; from torch's global generator if it is None."""
    if generator is None or tensor.is_meta:
        tensor.normal_(0.0, std)
        return
    draw = torch.empty(tensor.shape, dtype=tensor.dtype, device=generator.device)
    tensor.copy_(draw.normal_(0.0, std, generator=generator))


def initialise_layers(model: nn.Module, generator: Generators) -> None:
    """Lets every layer inside `model` fill its own tensors, each named from the model's root."""
    for path, layer in model.named_modules():
        if layer is not model and hasattr(layer, "initialise"):
            layer.initialise(lambda name, path=path: generator(f"{path}.{name}"))


class EqualizedLinear(nn.Module):
    """[N, in] -> [N, out]. `lr_multiplier` scales the speed at which weight and bias learn (0.01 in the mapping)."""

    def __init__(self, in_features: int, out_features: int, gain: float = 1.0, lr_multiplier: float = 1.0,
                 bias_init: float = 0.0) -> None:
        super().__init__()
        self.lr_multiplier, self.bias_init = lr_multiplier, bias_init
        self.weight_gain = gain * lr_multiplier / math.sqrt(in_features)
        self.bias_gain = gain * lr_multiplier
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))

    def initialise(self, generator: Generators) -> None:
        fill_normal(self.weight, generator("weight"), std=1 / self.lr_multiplier)
        if self.bias is not None:
            nn.init.constant_(self.bias, self.bias_init)

    def activated(self, x: Tensor) -> Tensor:
        """Its leaky ReLU."""
        return leaky_relu(self(x), slope=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype) * self.bias_gain
        return F.linear(x, self.weight.to(x.dtype) * self.weight_gain, bias)


class EqualizedConv2d(nn.Module):
    """[N, in, H, W] -> [N, out, H', W'], padded with zeros; computed in the type of x."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0,
                 gain: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.stride, self.padding, self.gain = stride, padding, gain
        self.weight_gain = gain / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def initialise(self, generator: Generators) -> None:
        fill_normal(self.weight, generator("weight"))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x, None if self.bias is None else (self.bias * self.gain).to(x.dtype))

    def activated(self, x: Tensor, clamp: float | None) -> Tensor:
        """Its leaky ReLU, cut to +-`clamp`."""
        if kernels.on_gpu(x):                           # where a convolution adds its bias in a pass of its own
            return leaky_relu(self._convolved(x, None), self.bias, self.gain, SLOPE, clamp)
        return leaky_relu(self(x), slope=SLOPE, clamp=clamp)

    def _convolved(self, x: Tensor, bias: Tensor | None) -> Tensor:
        weight = (self.weight * self.weight_gain).to(x.dtype)
        convolve = conv2d if kernels.on_gpu(x) else F.conv2d    # cuDNN takes long for torch's own second derivative
        return convolve(x, weight, bias, stride=self.stride, padding=self.padding)
