"""Images read at any places, between pixels bilinearly, and the adjoint, which adds values to the pixels around theirs.

Each is the other's derivative. Adding floats in whatever order a GPU's threads come along would give other bits each
time, and sorting them first, as PyTorch's deterministic algorithms do, takes longer than everything around it. The
kernels, operators `scalegan::bilinear` and `scalegan::bilinear_adjoint`, add whole numbers instead, whose sums do not
depend on the order: multiples of 2^-40 of the largest value or so, far finer than float32. CPUs run PyTorch's gather.
"""

import torch
from torch import Tensor
from torch.autograd import Function

from scalegan import kernels


def bilinear(images: Tensor, places: Tensor) -> Tensor:
    """Images [n, C, H, W] at places [n, (x, y), Y, X] inside, in pixels: [n, C, Y, X]; places have no gradient."""
    return _Read.apply(images, places) if kernels.on_gpu(images) else _read_plainly(images, places)


def pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of images [n, C, H, W] where rows [n, Y] and columns [n, X] cross: [n, C, Y, X]."""
    if kernels.on_gpu(images):
        places = torch.stack(torch.broadcast_tensors(columns[:, None], rows[:, :, None]), 1)
        return bilinear(images, places.to(images.dtype))
    n, channels, _, width = images.shape
    images = images.gather(2, rows[:, None, :, None].expand(n, channels, -1, width))
    return images.gather(3, columns[:, None, None].expand(n, channels, rows.shape[1], -1))


class _Read(Function):
    @staticmethod
    def forward(ctx, images: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = images.shape[2:]
        return _read(images, places)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _Adjoint.apply(grad, *ctx.saved_tensors, *ctx.size), None


class _Adjoint(Function):
    @staticmethod
    def forward(ctx, values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
        ctx.save_for_backward(places)
        return _add(values, places, height, width)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _Read.apply(grad, *ctx.saved_tensors), None, None, None


def _read_plainly(images: Tensor, places: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    corners, weights = _corners(places, height, width)
    values = images.flatten(2).gather(2, corners.expand(n, channels, -1)).view(n, channels, *weights.shape[1:])
    return (values * weights[:, None]).sum(2)


def _add_plainly(values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    n, channels = values.shape[:2]
    corners, weights = _corners(places, height, width)
    parts = (values[:, :, None] * weights[:, None]).flatten(2)
    found = values.new_zeros(n, channels, height * width)
    return found.scatter_add(2, corners.expand(n, channels, -1), parts).view(n, channels, height, width)


def _corners(places: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four pixels around each place, as indices [n, 1, 4 Y X] into an image's, and their weights [n, 4, Y, X]."""
    x, y = places.unbind(1)
    left, top = x.floor().clamp(0, width - 2), y.floor().clamp(0, height - 2)
    x, y, first = x - left, y - top, (top * width + left).long()
    corners = torch.stack([first, first + 1, first + width, first + width + 1], 1).view(len(places), 1, -1)
    return corners, torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1)


@kernels.operator("bilinear(Tensor images, Tensor places) -> Tensor",
                  lambda images, places: images.new_empty(*images.shape[:2], *places.shape[2:]))
def _read(images: Tensor, places: Tensor) -> Tensor:
    fused = _read_in_one_kernel if images.dtype == torch.float32 else _read_plainly
    return kernels.run("bilinear", fused, _read_plainly, images, places)


@kernels.operator("bilinear_adjoint(Tensor values, Tensor places, int height, int width) -> Tensor",
                  lambda values, places, height, width: values.new_empty(*values.shape[:2], height, width))
def _add(values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    fused = _add_in_one_kernel if values.dtype == torch.float32 else _add_plainly
    return kernels.run("bilinear", fused, _add_plainly, values, places, height, width)


def _read_in_one_kernel(images: Tensor, places: Tensor) -> Tensor:
    from scalegan.kernels import bilinear_triton
    return bilinear_triton.read(images, places)


def _add_in_one_kernel(values: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    from scalegan.kernels import bilinear_triton
    return bilinear_triton.add(values, places, height, width)
