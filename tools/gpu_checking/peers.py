"""Other projects' training steps beside ours, where their code lies at hand: the same shape, batch and device.

Their networks, losses and augmentation are theirs; what brings them together follows their training loops. Rounds
alternate, each with its own side's flags, so that a device that slows down slows both.
"""

import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.utils import cpp_extension

from tools.gpu_checking.check import Check, device, last_lines, wait
from tools.gpu_checking.stepping import Stepper, profiled, release
from tools.gpu_checking.steps import keys_of

Step = Callable[[], object]
_SECONDS = 190      # for the compilation of one extension
_PHASES = {"G": "Gmain", "G.path": "Greg", "D": "Dmain", "D.r1": "Dreg"}


def kernels(check: Check) -> None:
    """Has the peers compile their CUDA extensions, ahead of the timing and all at once: each takes a minute of a core.
    They are kept for the length of the call."""
    def one(name: str, operation: str) -> None:
        with check.attempt("peers.kernels", peer=name, operation=operation):
            start = time.perf_counter()
            code = (f"from tools.gpu_checking.peers import importable; importable({str(check.peers[name])!r})\n"
                    f"from torch_utils.ops import {operation}; {operation}._init()")
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_SECONDS)
            if done.returncode:
                raise RuntimeError(last_lines(done.stdout + done.stderr))
            check.say("peers.kernels", peer=name, operation=operation, seconds=time.perf_counter() - start)

    calls = [(name, operation) for name in check.peers for operation in ("bias_act", "upfirdn2d")]
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(lambda call: one(*call), calls))


def stylegan3(check: Check) -> None:
    """StyleGAN2-256, `paper256`: theirs in fp16 as they train, ours in bf16; main phases, and lazy penalties' share."""
    reference = enter(check.peers["stylegan3"])
    small = ["data.resolution=32", "model.channel_base=512", "model.channel_max=16", "precision=fp32"]
    for batch, share in ((8, 1.0),) if check.small else ((8, 0.4), (32, 1.0)):
        ours = {"ours": Stepper(keys_of("lsun_bedroom_stylegan2", batch, small if check.small else []))}
        if not check.small:
            ours["ours_not_deterministic"] = Stepper(keys_of("lsun_bedroom_stylegan2", batch, []), deterministic=False)
        theirs = _stylegan2(batch, *((32, 512, 16) if check.small else (256, 16384, 512)))
        _beside(check, "NVlabs/stylegan3", batch, theirs, ours, _PHASES, reference, share)
        del ours, theirs
        release()


def r3gan(check: Check) -> None:
    """R3GAN-256, preset FFHQ-256, with augmentation at p = 0.15, as half-way through its schedule."""
    reference = enter(check.peers["r3gan"])
    small = ["data.resolution=32", "model.width=16", "model.cardinality=4", "precision=fp32"]
    batch = 4 if check.small else 16
    ours = {"ours": Stepper(keys_of("lsun_bedroom_r3gan", batch, small if check.small else []))}
    if not check.small:
        ours["ours_not_deterministic"] = Stepper(keys_of("lsun_bedroom_r3gan", batch, []), deterministic=False)
    widths = [16] * 4 if check.small else [768, 768, 768, 768, 384, 192, 96]
    groups = [4] * 4 if check.small else [96, 96, 96, 96, 48, 24, 12]
    theirs = _r3gan(batch, widths, groups, check.small)
    _beside(check, "brownvc/R3GAN", batch, theirs, ours, {"D": "D", "G": "G"}, reference)


def importable(path: Path | str) -> None:
    """Makes a peer's modules importable; one peer in a process, as their modules have the same names."""
    from packaging.version import parse

    sys.path.insert(0, str(path))
    # Newer releases of setuptools are without it, and this is all that peers take from it.
    sys.modules["pkg_resources"] = types.SimpleNamespace(parse_version=parse)
    build = cpp_extension.load

    def load(name: str, **options: Any) -> types.ModuleType:
        """They import by name what they have built, and newer releases of torch no longer register it."""
        sys.modules[name] = build(name=name, **options)
        return sys.modules[name]

    cpp_extension.load = load


def enter(path: Path) -> str:
    """Imports a peer's operations; whether they will run as its own kernels or as its reference code."""
    importable(path)
    from torch_utils.ops import bias_act, conv2d_gradfix, grid_sample_gradfix, upfirdn2d

    conv2d_gradfix.enabled = grid_sample_gradfix.enabled = True
    if not torch.cuda.is_available():
        return "reference code, on a CPU"
    try:
        return "own CUDA kernels" if bias_act._init() and upfirdn2d._init() else "reference code"
    except Exception as error:
        bias_act._init = upfirdn2d._init = lambda: False
        return f"reference code: {str(error).strip().splitlines()[-1][:300]}"


def _beside(check: Check, peer: str, batch: int, theirs: dict[str, tuple[Step, int]], ours: dict[str, Stepper],
            pairs: dict[str, str], reference: str, share: float = 1.0) -> None:
    """Every phase of theirs and of each of ours in turn, and what an iteration of all phases comes to; in no more than
    that share of the time left."""
    rounds, repeats = (1, 1) if check.small else (5, 4)
    until = time.monotonic() + share * check.left
    sides: dict[str, dict[str, tuple[Callable[[], None], Step, float]]] = {
        "theirs": {phase: (_their_flags, work, 1 / every) for phase, (work, every) in theirs.items()}}
    for name, stepper in ours.items():
        sides[name] = {pairs[p.name]: (stepper.take_flags, lambda s=stepper, p=p: s.update(p), stepper.share(p))
                       for p in stepper.game.phases}
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        start = time.monotonic()
        for phase in theirs:
            for side, works in sides.items():
                flags, work, _ = works[phase]
                flags()
                work()
                ms = _milliseconds(work, repeats if number else 2)
                if number:
                    times.setdefault((side, phase), []).append(ms)
        if number and 2 * time.monotonic() - start > until - 8:     # seconds for what follows
            break
    main = [phase for phase, (_, every) in theirs.items() if every == 1]
    for side, works in sides.items():
        medians = {phase: statistics.median(times[side, phase]) for phase in works}
        whole = sum(medians[phase] * share for phase, (_, _, share) in works.items())
        found: dict[str, Any] = {"main_ms": sum(medians[phase] for phase in main), "iteration_ms": whole,
                                 "images_per_s": 1e3 * batch / whole, "phases_ms": _rounded(medians)}
        works[main[0]][0]()
        for phase in main:
            with check.attempt("peers.kernels_of_a_phase", side=side, phase=phase):
                found[f"kernels_{phase}"] = profiled(works[phase][1])["kernels"]
        check.say("peers", peer=peer, side=side, batch=batch, their_code=reference,
                  rounds=len(times[side, main[0]]), **found)
    whole = {side: sum(statistics.median(times[side, phase]) * works[phase][2] for phase in works)
             for side, works in sides.items()}
    check.say("peers.ratio", peer=peer, batch=batch, their_code=reference,
              **{f"{side}_faster_by": whole["theirs"] / ms for side, ms in whole.items() if side != "theirs"})


def _milliseconds(work: Step, repeats: int) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return 1e3 * (time.perf_counter() - start) / repeats


def _their_flags() -> None:
    """As both of their training loops set them."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def _tf32(on: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on


def _stylegan2(batch: int, resolution: int, base: int, most: int) -> dict[str, tuple[Step, int]]:
    """Their phases: what each does, and once in how many iterations."""
    from training.loss import StyleGAN2Loss
    from training.networks_stylegan2 import Discriminator, Generator

    widths = {"channel_base": base, "channel_max": most}
    there = device()
    g = Generator(512, 0, 512, resolution, 3, mapping_kwargs={"num_layers": 8}, fused_modconv_default="inference_only",
                  **widths).train().requires_grad_(False).to(there)
    d = Discriminator(0, resolution, 3, epilogue_kwargs={"mbstd_group_size": 8}, **widths)
    d = d.train().requires_grad_(False).to(there)
    loss = StyleGAN2Loss(there, g, d, r1_gamma=1, style_mixing_prob=0.9, pl_weight=2, pl_no_weight_grad=True)
    reals = torch.rand(batch, 3, resolution, resolution, device=there) * 2 - 1
    none = torch.zeros(batch, 0, device=there)
    phases: dict[str, tuple[Step, int]] = {}
    for name, module, every in (("G", g, 4), ("D", d, 16)):
        c = every / (every + 1)
        optimizer = torch.optim.Adam(module.parameters(), lr=2.5e-3 * c, betas=(0.0, 0.99**c), eps=1e-8)
        for phase, interval in ((f"{name}main", 1), (f"{name}reg", every)):
            def work(phase=phase, module=module, optimizer=optimizer, interval=interval) -> None:
                z = torch.randn(batch, 512, device=there)
                _step(module, optimizer, lambda: loss.accumulate_gradients(phase, reals, none, z, none, interval, 0))
            phases[phase] = _with_tf32_off(work), interval
    return phases


def _r3gan(batch: int, widths: list[int], groups: list[int], small: bool) -> dict[str, tuple[Step, int]]:
    from training.augment import AugmentPipe
    from training.loss import R3GANLoss
    from training.networks import Discriminator, Generator

    there, side = device(), 2 ** (len(widths) + 1)
    half = [] if small else [-1, -2, -3, -4]
    shape = {"BlocksPerStage": [2] * len(widths), "ExpansionFactor": 2, "c_dim": 0, "img_resolution": side}
    g = Generator(NoiseDimension=64, WidthPerStage=widths, CardinalityPerStage=groups, FP16Stages=half, **shape)
    d = Discriminator(WidthPerStage=widths[::-1], CardinalityPerStage=groups[::-1],
                      FP16Stages=[stage + len(half) for stage in half], **shape)
    g, d = (network.train().requires_grad_(False).to(there) for network in (g, d))
    colour = dict.fromkeys(("brightness", "contrast", "lumaflip", "hue", "saturation"), 0.5)
    moves = dict.fromkeys(("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"), 1)
    pipe = AugmentPipe(**moves, **colour, cutout=1).train().requires_grad_(False).to(there)
    pipe.p.copy_(torch.as_tensor(0.15))
    loss = R3GANLoss(g, d, pipe)
    reals, none = torch.rand(batch, 3, side, side, device=there) * 2 - 1, torch.zeros(batch, 0, device=there)
    phases: dict[str, tuple[Step, int]] = {}
    for name, module in (("D", d), ("G", g)):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.0, 0.95), eps=1e-8)

        def work(name=name, module=module, optimizer=optimizer) -> None:
            z = torch.randn(batch, 64, device=there)
            _step(module, optimizer, lambda: loss.accumulate_gradients(name, reals, none, z, 80.0, 1.0))
        phases[name] = _with_tf32_off(work), 1
    return phases


def _step(module: torch.nn.Module, optimizer: torch.optim.Optimizer, differentiate: Step) -> None:
    """One update: one flat vector of gradients, made finite, and a step along it."""
    optimizer.zero_grad(set_to_none=True)
    module.requires_grad_(True)
    differentiate()
    module.requires_grad_(False)
    moved = [p for p in module.parameters() if p.numel() > 0 and p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in moved])
    torch.nan_to_num(flat, nan=0, posinf=1e5, neginf=-1e5, out=flat)
    for p, grad in zip(moved, flat.split([p.numel() for p in moved])):
        p.grad = grad.reshape(p.shape)
    optimizer.step()


def _with_tf32_off(work: Step) -> Step:
    """They compute fp32 layers without TF32, whatever ours are told, which comes back."""
    def off() -> None:
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        _tf32(False)
        work()
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    return off


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.5g}") for key, value in values.items()}
