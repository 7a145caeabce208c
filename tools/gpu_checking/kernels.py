"""Operations whose speed is memory's: resampling and ADA's warp, beside a copy of the same bytes."""

import contextlib
from unittest import mock

import torch
import torch.nn.functional as F

from scalegan import kernels
from scalegan.augment.ada import GROUPS
from scalegan.augment.geometry import warp
from scalegan.models.layers import equalized, grouped, resample
from scalegan.models.layers.convolution import convolution, convolution_gradients, geometry
from scalegan.models.layers.resample import blur, downsample, upsample
from scalegan.randomness import Draws
from scalegan.training import environment
from tools.gpu_checking.check import Check, device, timed
from tools.gpu_checking.stepping import Stepper, profiled, release
from tools.gpu_checking.steps import CASES, SMALL_CASES, keys_of

_SHAPES = [(32, 64, 257, torch.bfloat16), (32, 128, 129, torch.bfloat16), (32, 512, 33, torch.bfloat16),
           (32, 512, 17, torch.float32), (8, 64, 257, torch.bfloat16)]
_LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def resampling(check: Check) -> None:
    """Forward and backward of blur, halving and doubling in both layouts, as StyleGAN2 and R3GAN ask for them; by cuDNN
    and, with channels last, by our kernel, which `resample.TRITON_ON_GPU` puts in its place."""
    for n, channels, side, dtype in [(1, 8, 9, torch.float32)] if check.small else _SHAPES:
        for layout, order in _LAYOUTS.items():
            for deterministic in (True, False):
                environment.prepare(device(), deterministic)
                with check.attempt("resampling", n=n, channels=channels, side=side, layout=layout):
                    odd = _noise(n, channels, side, dtype, order)
                    even = _noise(n, channels, side - 1, dtype, order)
                    works = (("blur", lambda x: blur(x, 1, 4.0), odd), ("downsample", downsample, even),
                             ("upsample", upsample, even))
                    for name, work, x in (("copy", torch.clone, odd), *works):
                        _forward_and_backward(check, name, work, x, layout, deterministic)
                    for name, work, x in works if layout == "channels_last" and deterministic else ():
                        expected = work(x).float()
                        with mock.patch.object(resample, "TRITON_ON_GPU", True):
                            error = ((work(x).float() - expected).norm() / expected.norm()).item()
                            _forward_and_backward(check, name, work, x, layout, deterministic, by="triton",
                                                  error=error, fell_back="fir" in kernels._refused)
        release()


def convolutions(check: Check) -> None:
    """R3GAN's grouped convolutions in float32, by cuDNN in both layouts and as matrix products; and StyleGAN2's R1 with
    torch's second derivatives and with ours."""
    environment.prepare(device(), True)
    at = geometry(padding=1, groups=4 if check.small else 96)
    for channels, side in [(16, 4)] if check.small else [(1536, 16), (1536, 8), (1536, 4)]:
        x, grad = (_noise(4 if check.small else 32, channels, side, torch.float32, torch.channels_last) for _ in "xy")
        w = torch.randn(channels, channels // at[-1], 3, 3, device=x.device).contiguous(
            memory_format=torch.channels_last)
        found = {}
        for by, order, ours in (("cudnn", "channels_last", False), ("cudnn", "contiguous", False),
                                ("products", "channels_last", True)):
            one, two, three = (t.contiguous(memory_format=_LAYOUTS[order]) for t in (x, grad, w))
            works = {"forward": lambda: convolution(one, three, None, at),                       # noqa: B023
                     "input": lambda: convolution_gradients(two, one, three, at, [True, False, False])[0],   # noqa: B023
                     "weight": lambda: convolution_gradients(two, one, three, at, [False, True, False])[1]}  # noqa: B023
            with mock.patch.object(grouped, "suits", lambda *_, ours=ours: ours):
                for name, work in works.items():
                    with check.attempt("convolutions", name=name, by=by, layout=order, side=side):
                        y, again = work(), work()
                        ms, host = timed(work, 1 if check.small else 10)
                        reference = found.setdefault(name, y)
                        check.say("convolutions", name=name, by=by, layout=order, shape=list(x.shape), ms=ms,
                                  host_ms=host, error=((y - reference).norm() / reference.norm()).item(),
                                  same_twice=y.equal(again), kernels=profiled(work)["kernels"])
        release()
    for by in ("ours", "torch"):
        with check.attempt("convolutions", name="R1", by=by):
            _time_r1(check, by)


def _time_r1(check: Check, by: str) -> None:
    """One update of StyleGAN2's lazy R1."""
    name, batch, more = (SMALL_CASES["stylegan2_32"] if check.small else CASES["stylegan2_256_n8"])
    stepper = Stepper(keys_of(name, batch, more))
    phase = next(phase for phase in stepper.game.phases if phase.name == "D.r1")
    natively = mock.patch.object(equalized, "conv2d", F.conv2d) if by == "torch" else contextlib.nullcontext()
    with natively:
        ms, host = timed(lambda: stepper.update(phase), 1 if check.small else 3)
        check.say("convolutions", name="R1", by=by, batch=batch, ms=ms, host_ms=host,
                  **profiled(lambda: stepper.update(phase)))


def augmentation(check: Check) -> None:
    """ADA's warp by itself, and every group of the pipe, forward and backward, at R3GAN-256's batch."""
    n, side = (2, 16) if check.small else (16, 256)
    for deterministic in (True, False):
        environment.prepare(device(), deterministic)
        x = _noise(n, 3, side, torch.float32, torch.contiguous_format).requires_grad_()
        matrix = torch.eye(2, device=x.device).expand(n, 2, 2) * 1.1
        shift = torch.zeros(n, 2, device=x.device)
        draws = Draws(0, 0, "check", torch.arange(n, device=x.device))
        works = {"warp": lambda: warp(x, matrix, shift), "warp_plain": lambda: _plain_warp(x, matrix, shift)}  # noqa: B023
        works |= {group: lambda apply=apply: apply(x, draws, torch.tensor(0.3)) for group, apply in GROUPS.items()}  # noqa: B023
        for name, work in works.items():
            with check.attempt("augmentation", name=name, deterministic=deterministic):
                if torch.cuda.is_available():
                    torch.cuda.reset_peak_memory_stats()
                forward, host = timed(work, 3)
                both, _ = timed(lambda: torch.autograd.grad(work().sum(), x), 3)     # noqa: B023
                check.say("augmentation", name=name, n=n, side=side, deterministic=deterministic, forward_ms=forward,
                          host_ms=host, both_ms=both, gb_per_s_of_image=4 * x.nbytes / both / 1e6,
                          peak_gb=torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0)
        if not check.small:
            check.say("augmentation.kernels", name="warp", deterministic=deterministic,
                      **profiled(lambda: torch.autograd.grad(works["warp"]().sum(), x)))   # noqa: B023
        release()


def _plain_warp(x: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """As CPUs compute it: gathers, whose deterministic derivative sorts."""
    with mock.patch.object(kernels, "on_gpu", lambda tensor: False):
        return warp(x, matrix, shift)


def _noise(n: int, channels: int, side: int, dtype: torch.dtype, order: torch.memory_format) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    noise = torch.empty(n, channels, side, side).normal_(generator=draw)
    return noise.to(device(), dtype).contiguous(memory_format=order)


def _forward_and_backward(check: Check, name: str, work, x: torch.Tensor, layout: str, deterministic: bool,
                          by: str = "cudnn", **more) -> None:
    y = work(x)
    moved = x.nbytes + y.nbytes
    forward, _ = timed(lambda: work(x), 20 if not check.small else 1)
    leaf = x.detach().requires_grad_()
    z = work(leaf)
    grad = torch.ones_like(z)
    backward, _ = timed(lambda: torch.autograd.grad(z, leaf, grad, retain_graph=True), 20 if not check.small else 1)
    check.say("resampling", name=name, shape=list(x.shape), dtype=str(x.dtype)[6:], layout=layout,
              by=by, **more, kept_layout=y.is_contiguous(memory_format=_LAYOUTS[layout]), deterministic=deterministic,
              forward_ms=forward, gb_per_s=moved / forward / 1e6, backward_ms=backward,
              backward_gb_per_s=moved / backward / 1e6)
