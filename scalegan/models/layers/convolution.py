"""Convolutions with fast second derivatives for gradient penalties, and the resampling that is merged into them."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

from scalegan import kernels
from scalegan.models.layers import grouped
from scalegan.models.layers.half import half_dtype, without_autocast

# Convolution is bilinear, and so are its two gradients; each one's derivatives are the other two:
#
#     y  = C(x, w)        dx = X(gy, w)    dw = W(gy, x)
#     gx = X(gy, w)       dgy = C(., w)    dw = W(gy, .)
#     gw = W(gy, x)       dgy = C(x, .)    dx = X(gy, .)
#
# torch's own second derivative of W(gy, x) runs a convolution with the feature map as its kernel, one per group:
# several times slower than the native gradient kernels that this closed triple uses at every order.

Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]


def geometry(stride: int = 1, padding: int = 0, transposed: bool = False, groups: int = 1) -> Geometry:
    """The operators' arguments after weight and bias."""
    return [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], groups


def convolution(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """C(x, w) + bias; not differentiable."""
    if grouped.suits(x, w, *geometry):
        y = grouped.convolve(x, w, geometry[-1])
        return y if bias is None else y.add_(bias[:, None, None])
    return torch.ops.aten.convolution(x, w, bias, *geometry)


def convolution_gradients(grad: Tensor, x: Tensor, w: Tensor, geometry: Geometry,
                          mask: list[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of x, w and the bias, as selected by the mask; not differentiable."""
    with without_autocast(grad):
        if mask[1] and _is_product(x, w, geometry):
            rows, columns = _rows(grad), _rows(x)
            of_x, _, _ = convolution_gradients(grad, x, w, geometry, [True, False, False]) if mask[0] else [None] * 3
            return of_x, (rows.T @ columns).view(w.shape), rows.sum(0) if mask[2] else None
        if grouped.suits(x, w, *geometry):
            groups = geometry[-1]
            return (grouped.input_gradient(grad, w, groups) if mask[0] else None,
                    grouped.weight_gradient(grad, x, w, groups) if mask[1] else None,
                    grad.sum((0, 2, 3)) if mask[2] else None)
        bias_sizes = [grad.shape[1]] if mask[2] else None
        return torch.ops.aten.convolution_backward(grad, x, w, bias_sizes, *geometry, mask)


def _is_product(x: Tensor, w: Tensor, geometry: Geometry) -> bool:
    """Whether to compute the weight gradient as a matrix product: for 1x1 kernels in bf16 on a CPU, where this saves a
    fifth of the time for the published R3GAN's."""
    stride, padding, _, transposed, _, groups = geometry
    return (w.shape[2:] == (1, 1) and x.dtype == torch.bfloat16 and not kernels.on_gpu(x) and stride == [1, 1]
            and padding == [0, 0] and not transposed and groups == 1)


def _rows(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N H W, C], without a copy if x is channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


class _Convolution(Function):
    """C(x, w) + bias."""

    @staticmethod
    def forward(ctx, x, w, bias, geometry):
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        with without_autocast(x):
            return convolution(x, w, bias, geometry)

    @staticmethod
    def backward(ctx, grad):
        (x, w), geometry, needs = ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad
        if not torch.is_grad_enabled():
            return *convolution_gradients(grad, x, w, geometry, list(needs[:3])), None
        grad_x = _InputGradient.apply(grad, w, x, geometry) if needs[0] else None
        grad_w = _WeightGradient.apply(grad, x, w, geometry) if wanted(ctx, 1) else None
        grad_bias = grad.sum((0, 2, 3)) if needs[2] else None
        return grad_x, grad_w, grad_bias, None


class _InputGradient(Function):
    """X(grad, w); of x only the shape matters."""

    @staticmethod
    def forward(ctx, grad, w, x, geometry):
        ctx.save_for_backward(grad, w, x)
        ctx.geometry = geometry
        return convolution_gradients(grad, x, w, geometry, [True, False, False])[0]

    @staticmethod
    def backward(ctx, second):
        grad, w, _ = ctx.saved_tensors
        grad_grad = _Convolution.apply(second, w, None, ctx.geometry) if ctx.needs_input_grad[0] else None
        grad_w = _WeightGradient.apply(grad, second, w, ctx.geometry) if ctx.needs_input_grad[1] else None
        return grad_grad, grad_w, None, None


class _WeightGradient(Function):
    """W(grad, x); of w only the shape matters."""

    @staticmethod
    def forward(ctx, grad, x, w, geometry):
        ctx.save_for_backward(grad, x, w)
        ctx.geometry = geometry
        return convolution_gradients(grad, x, w, geometry, [False, True, False])[1]

    @staticmethod
    def backward(ctx, second):
        grad, x, _ = ctx.saved_tensors
        grad_grad = _Convolution.apply(x, second, None, ctx.geometry) if ctx.needs_input_grad[0] else None
        grad_x = _InputGradient.apply(grad, second, x, ctx.geometry) if ctx.needs_input_grad[1] else None
        return grad_grad, grad_x, None, None


class _Traced(Function):
    """The same triple for compiled code: the derivative of <gy, C(x, w)> with respect to the one of (gy, x, w) at
    `place`, of which only the shape matters (None for gy).

    Dynamo gives a Function that it meets no second derivatives, and a penalty would be wrong without a word; what is
    allowed in the graph it leaves alone, and AOTAutograd traces through it to operators of aten. torch.func asks for
    `setup_context`, which costs an eager call some 20 microseconds: more than some kernels take.
    """

    @staticmethod
    def forward(gy: Tensor | None, x: Tensor, w: Tensor, geometry: Geometry, place: int) -> Tensor:
        if place == 0:
            with without_autocast(x):
                return convolution(x, w, None, geometry)
        return convolution_gradients(gy, x, w, geometry, [place == 1, place == 2, False])[place - 1]

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        *factors, ctx.geometry, ctx.place = inputs
        ctx.save_for_backward(*factors)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors = [*ctx.saved_tensors]
        factors[ctx.place] = grad
        return *(_Traced.apply(*factors, ctx.geometry, place) if ctx.needs_input_grad[place] and place != ctx.place
                 else None for place in range(3)), None, None


@torch.compiler.allow_in_graph
def _in_graph(x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    return _Traced.apply(None, x, w, geometry, 0)


def activated_convolution(x: Tensor, w: Tensor, bias: Tensor, slope: float, geometry: Geometry) -> Tensor:
    """A convolution and a leaky ReLU; not differentiable. In bf16 on a CPU one kernel does both."""
    stride, padding, dilation, _, _, groups = geometry
    if x.dtype == torch.bfloat16 and not kernels.on_gpu(x) and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._convolution_pointwise(x, w, bias, padding, stride, dilation, groups, "leaky_relu",
                                                       [slope], "")
    return F.leaky_relu_(convolution(x, w, bias, geometry), slope)


def _flops_of_activated(x_shape, w_shape, *others, out_shape=None, **named) -> int:
    return conv_flop_count(x_shape, w_shape, out_shape)


if torch.backends.mkldnn.is_available():
    register_flop_formula(torch.ops.mkldnn._convolution_pointwise)(_flops_of_activated)


def wanted(ctx, position: int) -> bool:
    """Whether this backward pass needs the gradient of the Function's input at `position`, which must not be a leaf.

    `ctx.needs_input_grad` only says whether it may ever be needed: a gradient penalty needs that of the images only,
    and the gradients of all weights would be computed and thrown away.
    """
    return ctx.needs_input_grad[position] and torch._C._will_engine_execute_node(ctx.next_functions[position][0])


def as_non_leaf(parameter: Tensor) -> Tensor:
    """The same values in a non-leaf tensor, as `wanted` requires."""
    return parameter.view_as(parameter) if parameter.is_leaf and parameter.requires_grad else parameter


def input_gradient(grad: Tensor, w: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of x, differentiable any number of times."""
    return _InputGradient.apply(grad, w, x, geometry)


def weight_gradient(grad: Tensor, x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of w, differentiable any number of times."""
    return _WeightGradient.apply(grad, x, w, geometry)


def _convolve(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    half = half_dtype(x)
    if half is not None and x.dtype != torch.float64:
        x = x.to(half)
    w, bias = w.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if torch.compiler.is_compiling():
        if not torch.is_grad_enabled():
            return torch.ops.aten.convolution(x, w, bias, *geometry)
        y = _in_graph(x, w, geometry)
        return y if bias is None else y + bias[:, None, None]
    if not torch.is_grad_enabled():
        return convolution(x, w, bias, geometry)
    return _Convolution.apply(x, as_non_leaf(w), bias, geometry)


def conv2d(x: Tensor, w: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0,
           groups: int = 1) -> Tensor:
    """[N, C, H, W] * [O, C/groups, k, k] -> [N, O, H', W'], as `F.conv2d`."""
    return _convolve(x, w, bias, geometry(stride, padding, False, groups))


def conv_transpose2d(x: Tensor, w: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    """[N, C, H, W] * [C, O, k, k] -> [N, O, H', W'], as `F.conv_transpose2d`."""
    return _convolve(x, w, bias, geometry(stride, padding, True, 1))


def _box_taps(like: Tensor) -> Tensor:
    """[9, 16]: what each tap of a 3x3 kernel becomes in the 4x4 kernel that also takes the mean over 2x2 pixels."""
    taps = torch.eye(9, dtype=like.dtype, device=like.device).reshape(1, 9, 3, 3)
    return F.avg_pool2d(taps, 2, stride=1, padding=1).reshape(9, 16)


def _mapped(w: Tensor, taps: Tensor) -> Tensor:
    """Kernels [.., 3, 3] to [.., 4, 4], by one product: ten times faster than pooling them like images."""
    return (w.flatten(-2) @ taps).unflatten(-1, (4, 4))


def conv2d_then_mean(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3x3 convolution, then 2x2 average pooling, in 4/9 of the multiplications: [N, C, H, W] -> [N, O, H/2, W/2]."""
    return conv2d(x, _mapped(w, _box_taps(w)), bias, stride=2, padding=1)


def nearest_then_conv2d(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Nearest upsampling by 2, then a 3x3 convolution, in 4/9 of the multiplications: [N, C, H, W] -> [N, O, 2H, 2W].

    Output pixel p applies tap t to input pixel floor((p + t - 1) / 2): each input pixel gets two taps per axis, whose
    sum is one tap of a 4x4 transposed convolution of stride 2. Being transposed, its kernel is mirrored.
    """
    taps = 4 * _box_taps(w).flip(1)
    return conv_transpose2d(x, _mapped(w, taps).transpose(0, 1), bias, stride=2, padding=1)


def add_upsampled(x: Tensor, small: Tensor) -> Tensor:
    """x + nearest_upsampling(small) without the upsampled copy: [N, C, 2H, 2W], [N, C, H, W] -> [N, C, 2H, 2W]."""
    return _add_upsampled(x, small) if torch.compiler.is_compiling() else _AddUpsampled.apply(x, small)


def _add_upsampled(x: Tensor, small: Tensor) -> Tensor:
    height, width = small.shape[2:]
    pixels = x.unflatten(3, (width, 2)).unflatten(2, (height, 2))  # [N, C, H, 2, W, 2]
    return (pixels + small[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)


class _AddUpsampled(Function):
    """The derivative is written out because torch sums blocks of pixels some fifty times slower than it pools them."""

    @staticmethod
    def forward(ctx, x: Tensor, small: Tensor) -> Tensor:
        return _add_upsampled(x, small)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, 4 * F.avg_pool2d(grad, 2)
