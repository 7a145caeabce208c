"""Keyed random draws: the CPU's integers on the GPU, and what they cost."""

import torch

from scalegan.kernels.philox import words
from scalegan.randomness import Draws
from tools.gpu_checking.check import Check, device, timed


def draws(check: Check) -> None:
    """A run moves between devices with the samples that it would have seen, where the integers are the same."""
    there = device()
    here = torch.cat([torch.arange(64), torch.arange(64) * 7919 + (1 << 40)])
    for key in (0, 12345, (1 << 64) - 1, 0x9E3779B97F4A7C15):
        check.say("draws.philox", key=str(key), same=words(key, here.to(there), 37).cpu().equal(words(key, here, 37)))
    ours, theirs = Draws(3, 1, "check", here), Draws(3, 1, "check", here.to(there))
    for shape in ((), (7,), (512,), (1, 33, 33)):
        for name in ("uniform", "integers", "normal"):
            with check.attempt("draws.same", kind=name, shape=list(shape)):
                arguments = ("x", 1000, *shape) if name == "integers" else ("x", *shape)
                a, b = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments).cpu()
                differ = a != b
                check.say("draws.same", kind=name, shape=list(shape), same=a.equal(b),
                          differing=float(differ.double().mean()),
                          largest_difference=float((a.double() - b.double()).abs().max()))


def draws_speed(check: Check) -> None:
    """Beside torch's own generator, which needs one kernel."""
    there = device()
    for n, shape in [(2, (8,))] if check.small else [(64, (512,)), (8, (1, 64, 64)), (8, (1, 256, 256)),
                                                     (64, (1, 256, 256)), (16, (3, 256, 256))]:
        keyed, size = Draws(0, 0, "check", torch.arange(n, device=there)), [n, *shape]
        works = {"normal": lambda: keyed.normal("x", *shape), "uniform": lambda: keyed.uniform("x", *shape),  # noqa: B023
                 "integers": lambda: keyed.integers("x", 1000, *shape),                                      # noqa: B023
                 "torch.randn": lambda: torch.randn(size, device=there)}                                     # noqa: B023
        for name, work in works.items():
            with check.attempt("draws.speed", kind=name, size=size):
                ms, host = timed(work)
                check.say("draws.speed", kind=name, size=size, ms=ms, host_ms=host,
                          gb_per_s_of_result=work().nbytes / ms / 1e6)
