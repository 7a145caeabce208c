"""Profiles: what a cluster wants of a job. Nothing else knows anything about any cluster. Never imports torch."""

from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from yaml import YAMLError

from scalegan.config import typed
from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean
from scalegan.support.paths import shipped


@typed
class Profile:
    executor: Literal["slurm", "local", "debug"] = "slurm"
    """Submitit's executor: a SLURM job; processes in the background of this machine; or this very process."""
    partition: str | None = None
    """Partition; null for the cluster's default."""
    account: str | None = None
    """Account that pays."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that nodes must have, such as `h100&ib`."""
    gres: str | None = "gpu"
    """Generic resource that gpus_per_node counts, such as `gpu` or `gpu:a100`; null asks for none: tasks on CPUs."""
    cpus_per_task: PositiveInt = 1
    """CPUs of a task: its trainer and its loader's workers. Threads per rank where OMP_NUM_THREADS is not set."""
    memory_gb: PositiveFloat | None = None
    """Memory per node; null for the partition's default."""
    time_minutes: PositiveInt = 60
    """Time limit of one sitting. A run that needs longer is requeued, and goes on."""
    signal_seconds: PositiveInt = 120
    """Before the time limit SLURM sends SIGUSR2, so long before it; the run is saved and requeued."""
    kill_seconds: PositiveInt = 30
    """Between SIGTERM and SIGKILL at a preemption or scancel: the cluster's KillWait (`scontrol show config`)."""
    step_seconds: NonNegativeFloat = 5
    """What one iteration of the run takes at most. Two of them (the one under way, and one to agree in) and a save
    must fit both times above."""
    save_seconds: NonNegativeFloat = 15
    """What writing a checkpoint takes at most."""
    max_timeouts: NonNegativeInt | None = None
    """Times that a job is requeued at its time limit; null for no bound."""
    max_preemptions: NonNegativeInt | None = 100
    """Times that a job goes on after a preemption, a failed node or a requeue by hand; null for no bound."""
    max_failures: NonNegativeInt = 3
    """Times in a row that a job is requeued, without a new checkpoint between, after ranks vanished without a word. A
    rank that says what is wrong ends the job at once."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables for the tasks, such as NCCL_SOCKET_IFNAME."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the tasks start, such as `module load cuda`."""
    python: str | None = None
    """Command that runs Python on a node, such as one in a container; null for this interpreter."""
    srun: tuple[str, ...] = ()
    """Further arguments of srun, such as --cpu-bind=cores."""
    sbatch: dict[str, str] = field(default_factory=dict)
    """Further options of sbatch, such as {exclude: node13, mail-type: END}."""


_ADAPTER = TypeAdapter(Profile)


def folders() -> list[Path]:
    """Where profiles are looked up: $SCALEGAN_PROFILES, the checkout, the installed package."""
    return shipped("slurm/profiles", "slurm_profiles", "SCALEGAN_PROFILES")


def available() -> list[str]:
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")})


def load(name: str, overrides: list[str]) -> Profile:
    """The profile of that name or path, with `KEY=value` laid upon it.

    Raises:
        RecipeError: where there is none, or it holds something wrong.
    """
    path = _find(name)
    try:
        tree = OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(overrides)))
    except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        raise RecipeError(f"cannot read profile {path}: {' '.join(str(error).split())}") from error
    try:
        profile = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise RecipeError(f"profile {path.name}: {_explain(error)}") from error
    _check_grace(profile, path.name)
    return profile


def to_yaml(profile: Profile) -> str:
    """The profile as `load` can read it again."""
    return OmegaConf.to_yaml(OmegaConf.create(_ADAPTER.dump_python(profile, mode="json")))


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise RecipeError(f"there is no profile file {name}")
        return Path(name)
    for folder in folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RecipeError(f"there is no profile '{name}'{did_you_mean(name, available())}; there are "
                      f"{', '.join(available())}, and profile=PATH.yaml takes your own")


def _check_grace(profile: Profile, name: str) -> None:
    """The trainer acts on a signal one iteration later, and then saves."""
    needed = 2 * profile.step_seconds + profile.save_seconds
    for key in ("signal_seconds", "kill_seconds") if profile.executor == "slurm" else ():
        if needed > getattr(profile, key):
            raise RecipeError(
                f"profile {name}: {key}={getattr(profile, key)} leaves no time to stop: two steps of "
                f"step_seconds={profile.step_seconds:g} and save_seconds={profile.save_seconds:g} need {needed:g} "
                f"seconds; give profile.{key} more (the cluster must grant it), or say what a step and a save take")
    if profile.signal_seconds >= 60 * profile.time_minutes:
        raise RecipeError(f"profile {name}: signal_seconds={profile.signal_seconds} is all of "
                          f"time_minutes={profile.time_minutes}; give more time")


def _explain(error: ValidationError) -> str:
    first: Any = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key '{key}'{did_you_mean(key, Profile.__dataclass_fields__)}"
    return f"{key}={first['input']}: {first['msg'].replace('Input should be', 'should be').split(', unable')[0]}"
