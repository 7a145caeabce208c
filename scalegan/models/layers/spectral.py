"""BigGAN's spectral normalisation (Miyato et al., 2018) and orthogonality (Brock et al., 2019, section 3.1)."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.conditions import embed
from scalegan.models.layers.convolution import conv2d
from scalegan.models.layers.half import without_autocast
from scalegan.models.layers.initial import Generators, fan_in_uniform_
from scalegan.models.layers.tracked import Tracked


class PlainWeight(nn.Module):
    """A weight without normalisation."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))

    def forward(self) -> Tensor:
        return self.weight

    def initialise(self, name: str, generator: Generators, scheme: str) -> None:
        _fill(self.weight, generator(f"{name}.weight"), scheme)


class SpectralWeight(Tracked):
    """A weight [O, ...] divided by its largest singular value, as estimated by one step of power iteration from u.

    Every forward takes that step from the stored u and discards it, in eval mode too, so that all forwards of an update
    see the same sigma; `advance` stores it, once per update.
    """

    reads_weights = True

    def __init__(self, *shape: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(shape))
        self.register_buffer("u", torch.empty(shape[0]))

    def _matrix(self) -> Tensor:
        """The weight as [O, fan-in]; the order of the columns does not matter, so no memory layout needs a copy."""
        return (self.weight if self.weight.is_contiguous() else self.weight.movedim(1, -1)).flatten(1)

    def _iterate(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """The next u, and W v for the corresponding v."""
        with torch.no_grad():
            v = F.normalize(self.u @ matrix, dim=0, eps=self.eps)
        image = matrix @ v
        return F.normalize(image.detach(), dim=0, eps=self.eps), image

    def forward(self) -> Tensor:
        with without_autocast(self.weight):
            u, image = self._iterate(self._matrix())
            return self.weight * torch.dot(u, image).reciprocal()     # its gradient takes fewer passes than that of /

    @torch.no_grad()
    def folded(self) -> PlainWeight:
        """The normalised weight as a constant, for networks that will not be trained."""
        plain = PlainWeight(*self.weight.shape)
        plain.weight.copy_(self())
        return plain

    @torch.no_grad()
    def sigma(self) -> Tensor:
        """The estimated largest singular value, by which a forward would divide, []."""
        return torch.dot(*self._iterate(self._matrix()))

    @torch.no_grad()
    def advance(self) -> None:
        self.u.copy_(self._iterate(self._matrix())[0])

    def initialise(self, name: str, generator: Generators, scheme: str) -> None:
        _fill(self.weight, generator(f"{name}.weight"), scheme)
        if not self.u.is_meta:
            with torch.no_grad():
                nn.init.normal_(self.u, generator=generator(f"{name}.u"))
                self.u.copy_(F.normalize(self.u, dim=0))


def _fill(weight: Tensor, generator: torch.Generator | None, scheme: str) -> None:
    if weight.is_meta:
        return
    if scheme == "orthogonal":
        nn.init.orthogonal_(weight, generator=generator)
    elif scheme == "normal":
        nn.init.normal_(weight, 0.0, 0.02, generator=generator)
    elif scheme == "fan_in":
        fan_in_uniform_(weight, weight[0].numel(), generator)
    else:
        raise ValueError(f"init must be 'orthogonal', 'normal' (standard deviation 0.02) or 'fan_in' (uniform in "
                         f"+-1 / sqrt(fan_in)), not {scheme!r}")


def _weight(*shape: int, spectral: bool, eps: float) -> nn.Module:
    return SpectralWeight(*shape, eps=eps) if spectral else PlainWeight(*shape)


class Conv2d(nn.Module):
    """kernel x kernel convolution; by default of stride 1 and such that it keeps the size: [N, C, H, W] ->
    [N, O, H, W]."""

    def __init__(self, channels: int, out_channels: int, kernel: int = 3, bias: bool = True, spectral: bool = True,
                 eps: float = 1e-6, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2 if padding is None else padding
        self.normed = _weight(out_channels, channels, kernel, kernel, spectral=spectral, eps=eps)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.normed(), self.bias, self.stride, self.padding)

    def initialise(self, name: str, generator: Generators, scheme: str) -> None:
        self.normed.initialise(f"{name}.normed", generator, scheme)
        _fill_bias(self.bias, self.normed.weight, generator(f"{name}.bias"))


class Linear(nn.Module):
    """[N, C] -> [N, O]."""

    def __init__(self, channels: int, out_channels: int, bias: bool = True, spectral: bool = True,
                 eps: float = 1e-6) -> None:
        super().__init__()
        self.normed = _weight(out_channels, channels, spectral=spectral, eps=eps)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normed(), self.bias)

    def initialise(self, name: str, generator: Generators, scheme: str) -> None:
        self.normed.initialise(f"{name}.normed", generator, scheme)
        _fill_bias(self.bias, self.normed.weight, generator(f"{name}.bias"))


class Embedding(nn.Module):
    """Class indices [N] or attributes [N, K] -> [N, D]."""

    def __init__(self, num_classes: int, channels: int, spectral: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.normed = _weight(num_classes, channels, spectral=spectral, eps=eps)

    def forward(self, labels: Tensor) -> Tensor:
        return embed(labels, self.normed())

    def initialise(self, name: str, generator: Generators, scheme: str) -> None:
        self.normed.initialise(f"{name}.normed", generator, scheme)


def _fill_bias(bias: Tensor | None, weight: Tensor, generator: torch.Generator | None) -> None:
    """torch's default, U(-1, 1) / sqrt(fan-in), which ajbrock/BigGAN-PyTorch does not change."""
    if bias is not None and not bias.is_meta:
        bound = weight[0].numel() ** -0.5
        nn.init.uniform_(bias, -bound, bound, generator=generator)


def orthogonal_regularisation(weights: Iterable[Tensor], strength: float = 1e-4) -> Tensor:
    """strength / 2 * the sum over weights of the squared off-diagonal of W W^T (Brock et al., 2019, equation 3).

    Rows should be orthogonal; their norms are free. The gradient is that of the published code, strength * 2 (W W^T
    o (1 - I)) W. Pass it the weights with 2 or more axes; BigGAN leaves out G's shared class embedding.
    """
    total = None
    for weight in weights:
        matrix = weight.flatten(1)
        gram = matrix @ matrix.T
        term = gram.square().sum() - gram.diagonal().square().sum()
        total = term if total is None else total + term
    if total is None:
        raise ValueError("orthogonal regularisation needs at least one weight")
    return 0.5 * strength * total
