"""Profiles: job settings for a cluster. Nothing else is specific to a cluster. Never imports torch."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from yaml import YAMLError

from scalegan.config.schema import Text, typed
from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean
from scalegan.support.paths import shipped
from scalegan.support.reading import DamagedFile
from scalegan.support.yaml_files import read_keys

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Option = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


@typed
class Profile:
    executor: Literal["slurm", "local", "debug"] = "slurm"
    """Submitit's executor. slurm: a SLURM job; local: background processes on this machine; debug: this process."""
    partition: Text | None = None
    """Partition; null uses the cluster's default."""
    account: Text | None = None
    """Account to charge."""
    qos: Text | None = None
    """Quality of service."""
    constraint: Text | None = None
    """Required node features, such as `h100&ib`."""
    gres: Text | None = "gpu"
    """Generic resource counted by gpus_per_node, such as `gpu` or `gpu:a100`; null requests none."""
    cpus_per_task: PositiveInt = 1
    """CPUs per task, for the trainer and its loader workers; also threads per rank if OMP_NUM_THREADS is not set."""
    memory_gb: PositiveFloat | None = None
    """Memory per node; null uses the partition's default."""
    time_minutes: PositiveInt = 60
    """Time limit of each start of the job. A run that needs longer is requeued and resumes."""
    signal_seconds: PositiveInt = 120
    """How long before the time limit SLURM sends SIGUSR2, upon which the run is saved and requeued."""
    kill_seconds: PositiveInt = 30
    """Time from SIGTERM to SIGKILL at a preemption or scancel: the cluster's KillWait (`scontrol show config`)."""
    step_seconds: NonNegativeFloat = 5
    """Upper bound on the time of one iteration. Two iterations (the current one, and one in which the ranks agree to
    stop) and a save must fit into signal_seconds and into kill_seconds."""
    save_seconds: NonNegativeFloat = 15
    """Upper bound on the time to write a checkpoint."""
    max_timeouts: NonNegativeInt | None = None
    """Maximum number of requeues at the time limit; null for no limit."""
    max_preemptions: NonNegativeInt | None = 100
    """Maximum number of restarts after a preemption, a node failure or a manual requeue; null for no limit."""
    max_failures: NonNegativeInt = 3
    """Maximum number of consecutive requeues, without a new checkpoint in between, after ranks vanished without
    reporting an error. A reported error ends the job at once."""
    environment: dict[Variable, Text] = field(default_factory=dict)
    """Environment variables for the tasks, such as NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME."""
    setup: tuple[str, ...] = ()
    """Shell commands to run before the tasks start, such as `module load cuda`. This and `python` are run by the shell
    as they are; all other values are quoted."""
    python: str | None = None
    """Shell command that runs Python on a node, such as one in a container; null uses this interpreter."""
    srun: tuple[Text, ...] = ()
    """Extra arguments for srun, such as --cpu-bind=cores."""
    sbatch: dict[Option, Text] = field(default_factory=dict)
    """Extra options for sbatch, such as {exclude: node13, mail-type: END}."""


_ADAPTER = TypeAdapter(Profile)


def folders() -> list[Path]:
    """Folders to search for profiles, in order: $SCALEGAN_PROFILES, the checkout, the installed package."""
    return shipped("slurm/profiles", "slurm_profiles", "SCALEGAN_PROFILES")


def available() -> list[str]:
    return sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")})


def load(name: str, overrides: list[str]) -> Profile:
    """Loads a profile by name or path and applies `KEY=value` overrides.

    Raises:
        RecipeError: if the profile does not exist or is invalid.
    """
    path = _find(name)
    try:
        merged = OmegaConf.merge(OmegaConf.create(read_keys(path, "a profile")), OmegaConf.from_dotlist(overrides))
        tree = OmegaConf.to_container(merged)
    except (DamagedFile, OSError) as error:
        raise RecipeError(f"profile {name}: {error}") from error
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise RecipeError(f"cannot read profile {path}: {' '.join(str(error).split())}") from error
    try:
        profile = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise RecipeError(f"profile {path.name}: {_explain(error)}") from error
    _check_grace(profile, path.name)
    return profile


def to_yaml(profile: Profile) -> str:
    """The profile as YAML that `load` can read."""
    return OmegaConf.to_yaml(OmegaConf.create(_ADAPTER.dump_python(profile, mode="json")))


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise RecipeError(f"there is no profile file {name}")
        return Path(name)
    for folder in folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RecipeError(f"there is no profile '{name}'{did_you_mean(name, available())}; use one of "
                      f"{', '.join(available())}, or your own with profile=PATH.yaml")


def _check_grace(profile: Profile, name: str) -> None:
    """Checks that a run has time to stop: the trainer acts on a signal one iteration later, and then saves."""
    needed = 2 * profile.step_seconds + profile.save_seconds
    for key in ("signal_seconds", "kill_seconds") if profile.executor == "slurm" else ():
        if needed > getattr(profile, key):
            raise RecipeError(
                f"profile {name}: {key}={getattr(profile, key)} leaves no time to stop: two steps of "
                f"step_seconds={profile.step_seconds:g} and save_seconds={profile.save_seconds:g} need {needed:g} "
                f"seconds; raise profile.{key} (if the cluster allows), or set step_seconds and save_seconds to what a "
                "step and a save really take")
    if profile.signal_seconds >= 60 * profile.time_minutes:
        raise RecipeError(f"profile {name}: signal_seconds={profile.signal_seconds} takes up all of "
                          f"time_minutes={profile.time_minutes}; raise profile.time_minutes")


def _explain(error: ValidationError) -> str:
    first: Any = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key '{key}'{did_you_mean(key, Profile.__dataclass_fields__)}"
    if first["type"] == "string_pattern_mismatch":
        parent = key.split(".")[0]
        what = {"environment": "a variable's name", "sbatch": "an option of sbatch, without its dashes"}[parent]
        return f"{parent}: '{first['input']}' is not {what}"
    message = first["msg"].replace("Input should be", "should be").removeprefix("Value error, ").split(", unable")[0]
    return f"{key}={first['input']}: {message}"
