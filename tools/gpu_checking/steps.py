"""Training steps of the published shapes: as they are trained, and with what costs speed left out."""

import json
import time
import warnings
from functools import cache
from pathlib import Path

from scalegan.training.utilisation import data_sheet_flops, peak_flops
from tools.gpu_checking.check import Check, device, wait
from tools.gpu_checking.stepping import Stepper, measured, profiled, release

# One micro-batch is one step's batch, so that a case is what one GPU of many does between two exchanges.
CASES = {
    "stylegan2_256_n8": ("lsun_bedroom_stylegan2", 8, []),
    "stylegan2_256_n32": ("lsun_bedroom_stylegan2", 32, []),
    "r3gan_256_ada_n16": ("lsun_bedroom_r3gan", 16, []),
    "biggan_128_n32": ("celeba128_biggan", 32, []),
    "biggan_deep_128_n32": ("celeba128_biggan_deep", 32, []),
    "dcgan_64_n128": ("celeba_dcgan", 128, []),
}
SMALL_CASES = {
    "dcgan_64": ("celeba_dcgan", 16, ["model.width=2"]),
    "stylegan2_32": ("celeba_stylegan2", 8, ["data.resolution=32", "model.channel_base=256", "model.channel_max=8",
                                             "model.w_dim=8", "model.latent_dim=8", "model.mapping_layers=2"]),
}


def keys_of(name: str, batch: int, more: list[str], compiled: bool = False) -> list[str]:
    return [f"recipe={name}", f"batch_size={batch}", f"micro_batch_size={batch}", "lanes=1", *more,
            f"engine.compile={str(compiled).lower()}"]


def cases_of(check: Check) -> dict[str, tuple[str, int, list[str]]]:
    return SMALL_CASES if check.small else CASES


def step(check: Check, case: str) -> None:
    """A case as it is trained, and its kernels."""
    _step(check, case, "as_trained")


def step_not_deterministic(check: Check, case: str) -> None:
    """What deterministic kernels cost."""
    _step(check, case, "not_deterministic", deterministic=False)


def _step(check: Check, case: str, variant: str, **flags: bool) -> None:
    name, batch, more = cases_of(check)[case]
    repeats, rounds = (1, 1) if check.small else (6, 3)
    with check.attempt("step", case=case, variant=variant):
        stepper = Stepper(keys_of(name, batch, more), **flags)
        phases, total = measured(stepper, _peak(stepper.precision), data_sheet(stepper.precision), repeats, rounds)
        check.say("step", case=case, variant=variant, batch=batch, precision=stepper.precision, **total,
                  phases=[{key: _short(value) for key, value in phase.items()} for phase in phases])
        _flops_file(check, case).write_text(json.dumps({p["phase"]: p["gflop"] * 1e9 for p in phases}))
        _profile(check, case, variant, stepper)


def step_graphed(check: Check, case: str) -> None:
    """Forward and backward passes as CUDA graphs: the time, and whether the weights are those without."""
    name, batch, more = cases_of(check)[case]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stepper = Stepper(keys_of(name, batch, more), cuda_graphs=True)
        plain = Stepper(keys_of(name, batch, more))
        plain.game.load_state_dict(stepper.game.state_dict())
        for _ in range(5):
            for one, other in zip(stepper.game.phases, plain.game.phases):
                stepper.update(one)
                plain.update(other)
        wait()
        states = stepper.game.state_dict(), plain.game.state_dict()
        eager = sorted({str(warning.message)[:300] for warning in said if "CUDA graph" in str(warning.message)})
    check.say("step.graphed", case=case, without_graph=eager,
              differing=[key for key, value in states[0].items() if not value.equal(states[1][key])][:8])
    del plain
    release()
    _say_compiled(check, case, "graphed", stepper)


def compile_ahead(check: Check, case: str) -> None:
    """Compiles every phase, which keeps CPUs busy for a while; `step_compiled`, timed alone, finds the code."""
    unfinished = _unfinished(check, case)
    unfinished.touch()
    _compiled(check, case, "compiled.ahead")
    unfinished.unlink()


def step_compiled(check: Check, case: str) -> None:
    """Networks compiled in passes without penalties."""
    if _unfinished(check, case).exists():       # it may have been ended within a file
        check.say("step", case=case, variant="compiled", why="compiling did not end in time")
        return
    stepper = _compiled(check, case, "compiled.again")
    _say_compiled(check, case, "compiled", stepper)


def _say_compiled(check: Check, case: str, variant: str, stepper: Stepper) -> None:
    """Times what cannot be counted, as `step` counted it."""
    counted = _flops_file(check, case)
    flops = json.loads(counted.read_text()) if counted.exists() else {p.name: 0 for p in stepper.game.phases}
    repeats, rounds = (1, 1) if check.small else (6, 3)
    phases, total = measured(stepper, _peak(stepper.precision), data_sheet(stepper.precision), repeats, rounds, flops)
    check.say("step", case=case, variant=variant, batch=stepper.batch, precision=stepper.precision, **total,
              phases=[{key: _short(value) for key, value in phase.items()} for phase in phases])
    if check.left > 10:
        _profile(check, case, variant, stepper)


def _compiled(check: Check, case: str, what: str) -> Stepper:
    name, batch, more = cases_of(check)[case]
    stepper = Stepper(keys_of(name, batch, more, compiled=True))
    for phase in stepper.game.phases:
        start = time.perf_counter()
        stepper.update(phase)
        stepper.update(phase)
        wait()
        check.say(what, case=case, phase=phase.name, seconds=time.perf_counter() - start)
    return stepper


def data_sheet(precision: str) -> float | None:
    """What the device's data sheet promises, where it is known."""
    return data_sheet_flops(device(), precision)


@cache
def _peak(precision: str) -> float:
    return peak_flops(device(), precision)


def _profile(check: Check, case: str, variant: str, stepper: Stepper) -> None:
    """Kernels of every phase, and of an iteration with its share of lazy penalties."""
    totals = {"kernels": 0.0, "kernel_ms": 0.0}
    for phase in stepper.game.phases:
        def work(phase=phase) -> None:
            stepper.update(phase)

        found = profiled(work)
        check.say("step.kernels", case=case, variant=variant, phase=phase.name, **found)
        for key in totals:
            totals[key] += stepper.share(phase) * found[key]
    check.say("step.kernels", case=case, variant=variant, phase="an iteration, lazy penalties by their share", **totals)


def _unfinished(check: Check, case: str) -> Path:
    return check.scratch / f"compiling_{case}"


def _flops_file(check: Check, case: str) -> Path:
    return check.scratch / f"flops_{case}.json"


def _short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value
