"""Exact gradient penalties without second derivatives, for networks that are linear in their input piece by piece.

Between the kinks of its leaky ReLUs such a network is linear in its input x. Its logits D(x) and its gradient g(x) in x
depend on each weight through two things: the gradient d at the output of the weight's layer, which one backward pass
finds, and the layer's input. So for a loss L(D, g) with c = dL/dD of each sample and u = dL/dg,

    dL/dw = the layer's weight gradient for d and c x + u, carried to the layer's input

where c x + u passes through the network with the slopes that its leaky ReLUs had at x, and each bias is multiplied by
c. That is four passes, where a loss without a penalty takes three; differentiating twice, as for any network, takes
six. (It is Pearlmutter's R-operator, 1994, "Fast exact multiplication by the Hessian", where d does not change along
u.) In the code, d, g and u belong to `scale` times the logits, and the share of a sample is c / `scale`.
"""

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from scalegan.models.layers.convolution import (
    Geometry,
    activated_convolution,
    convolution,
    convolution_gradients,
    geometry,
)
from scalegan.models.layers.half import cast, half_dtype, without_autocast


class Tape:
    """The convolutions of a network, in the order in which it calls them: recorded in its first pass, with what they
    leave for the backward pass and the last, in which they are called again."""

    def __init__(self) -> None:
        self._steps: list[_Convolution] = []
        self.share: Tensor | None = None
        self.wanted: set[int] = set()
        self.weights: dict[int, Tensor] = {}        # gradients of weights, by their ids
        self.biases: dict[int, Tensor] = {}         # those of biases, of each sample and without its share, [n, C]

    def rewind(self, share: Tensor, wanted: set[int]) -> None:
        """Begins the last pass.

        Args:
            share: what is multiplied with each sample's biases, [n].
            wanted: ids of the parameters whose gradients the pass is to find.
        """
        self._steps.reverse()
        self.share, self.wanted = share, wanted

    def convolution(self, x: Tensor, w: nn.Parameter, bias: nn.Parameter | None = None, slope: float | None = None,
                    padding: int = 0, groups: int = 1) -> Tensor:
        """As `conv2d`, and then a leaky ReLU, if there is a slope: its output must then have a single use. In the last
        pass, x is what c x + u has become."""
        if self.share is not None:
            return self._steps.pop().again(x, self)     # and what it kept is free
        self._steps.append(_Convolution(w, bias, slope, geometry(padding=padding, groups=groups)))
        return _Recorded.apply(x, self._steps[-1])

    def gradients(self) -> dict[int, Tensor]:
        """What the last pass has found, by the parameters' ids."""
        if not self.biases:
            return self.weights
        each = cast([*self.biases.values()], self.share.dtype)
        of_all = self.share @ torch.cat(each, 1)        # one product rather than dozens
        return self.weights | dict(zip(self.biases, of_all.split([one.shape[1] for one in each])))


class _Convolution:
    """One convolution's three passes."""

    def __init__(self, w: nn.Parameter, bias: nn.Parameter | None, slope: float | None, at: Geometry) -> None:
        self._parameters, self._slope, self._at = (w, bias), slope, at

    def forward(self, x: Tensor) -> Tensor:
        w, bias = self._parameters
        dtype = (half_dtype(x) if x.dtype != torch.float64 else None) or x.dtype
        self._w, self._bias = cast((w, bias), dtype) if bias is not None else (w.to(dtype), None)
        self._x = x.to(dtype)
        with without_autocast(x):
            if self._slope is None:
                return convolution(self._x, self._w, self._bias, self._at)
            y = activated_convolution(self._x, self._w, self._bias, self._slope, self._at)
            self._y = y.detach()        # what is returned gets this step's node, which would keep it for ever
            return y

    def backward(self, grad: Tensor) -> Tensor:
        self._grad = grad if self._slope is None else self._sloped(grad)
        found, _, _ = convolution_gradients(self._grad, self._x, self._w, self._at, [True, False, False])
        self._x = None      # of no further use
        return found

    def again(self, x: Tensor, tape: Tape) -> Tensor:
        x, (w, bias) = x.to(self._w.dtype), self._parameters
        if id(w) in tape.wanted:
            _, found, _ = convolution_gradients(self._grad, x, self._w, self._at, [False, True, False])
            tape.weights[id(w)] = found.to(w.dtype)
        with without_autocast(x):
            y = convolution(x, self._w, None, self._at)
        if bias is not None:
            if id(bias) in tape.wanted:
                # No loss scale would keep these sums in fp16's range; in bf16 a CPU is faster without a copy.
                wide = torch.float32 if self._grad.dtype == torch.float16 else None
                tape.biases[id(bias)] = self._grad.sum((2, 3), dtype=wide)
            y.addcmul_(tape.share.to(y.dtype)[:, None, None, None], self._bias[:, None, None])
        return y if self._slope is None else self._sloped(y)

    def _sloped(self, grad: Tensor) -> Tensor:
        """In place: nobody else has these gradients."""
        return torch.ops.aten.leaky_relu_backward.grad_input(grad, self._y, self._slope, True, grad_input=grad)


class _Recorded(Function):
    @staticmethod
    def forward(ctx, x: Tensor, step: _Convolution) -> Tensor:
        ctx.step = step
        return step.forward(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.step.backward(grad), None


def with_gradient(trunk: Callable[[Tensor, Tape], Tensor], head: Callable[[Tensor], Tensor], x: Tensor,
                  parameters: Sequence[nn.Parameter], scale: float) -> tuple[Tensor, Tensor]:
    """Logits [n], and the gradient of scale * their sum in x [n, ...]; both can be differentiated once.

    Args:
        trunk: (x, tape) -> features [n, ...]: the tape's convolutions, and what is linear and has no parameters.
        head: features -> logits [n], linear in the features.
        parameters: of both; each is in one place.
    """
    return _WithGradient.apply(x, trunk, head, scale, *parameters)


class _WithGradient(Function):
    @staticmethod
    def forward(ctx, x: Tensor, trunk: Callable, head: Callable, scale: float,
                *parameters: nn.Parameter) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.trunk, ctx.head, ctx.scale, ctx.tape, ctx.autocast = trunk, head, scale, Tape(), _autocast_of(x)
        seen = x.detach().requires_grad_()
        with torch.enable_grad():
            features = trunk(seen, ctx.tape)
            at = features.detach().requires_grad_()
            logits = head(at)
        with without_autocast(x):
            along, = torch.autograd.grad(logits, at, torch.full_like(logits, scale))
            along = along.contiguous(memory_format=torch.channels_last)     # as the convolutions compute
            gradient, = torch.autograd.grad(features, seen, along)
        ctx.save_for_backward(x, gradient, *parameters)
        return logits.detach(), gradient

    @staticmethod
    @once_differentiable
    def backward(ctx, of_logits: Tensor | None, of_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        x, gradient, *parameters = ctx.saved_tensors
        wanted = [p for p, needed in zip(parameters, ctx.needs_input_grad[4:]) if needed]
        share = x.new_zeros(len(x)) if of_logits is None else of_logits / ctx.scale
        each = share.view(-1, *[1] * (x.dim() - 1))
        ctx.tape.rewind(share, {id(p) for p in wanted})
        with ctx.autocast:
            features = ctx.trunk(x * each if of_gradient is None else torch.addcmul(of_gradient, x, each), ctx.tape)
        found = ctx.tape.gradients()
        in_head = [p for p in wanted if id(p) not in found]
        if in_head:
            with ctx.autocast, torch.enable_grad():
                value = ctx.head(features).sum() * ctx.scale
            with without_autocast(x):
                found |= {id(p): of_p for p, of_p in zip(in_head, torch.autograd.grad(value, in_head))}
        ctx.tape = None
        of_x = each * gradient if ctx.needs_input_grad[0] else None
        return of_x, None, None, None, *(found.get(id(p)) for p in parameters)


def _autocast_of(x: Tensor) -> contextlib.AbstractContextManager:
    """The context of autocast in which x is now, for later."""
    kind, half = x.device.type, half_dtype(x)
    return contextlib.nullcontext() if half is None else torch.autocast(kind, half)
