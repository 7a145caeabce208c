"""Submits work as jobs: copies code and recipe into the run folder and calls Submitit. Never imports torch."""

import io
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from scalegan.cluster import profiles as profiles
from scalegan.cluster.profiles import Profile
from scalegan.cluster.records import Job, job_folder, submission_lock, write_job
from scalegan.errors import RecipeError, UserError
from scalegan.support.keys import key_of

_PACKAGE = Path(__file__).resolve().parent.parent
_HOLD = "env --block-signal=TERM,INT,USR1,USR2"


@dataclass(frozen=True)
class Work:
    """The work of one job, or of one element of an array.

    Args:
        folder: the run folder.
        task: what Submitit calls in every task.
        recipe: the resolved recipe, as YAML.
    """

    folder: Path
    task: Callable[[], int]
    recipe: str | None = None


@dataclass(frozen=True)
class Allocation:
    """The fewest and most nodes, and the number of tasks on each."""

    fewest: int
    most: int
    per_node: int

    def __str__(self) -> str:
        nodes = f"{self.most} node{'s' * (self.most > 1)}"
        nodes = nodes if self.fewest == self.most else f"{self.fewest} to {nodes}"
        return f"{nodes}, {self.per_node} task{'s' * (self.per_node > 1)} each"


def script(works: Sequence[Work], home: Path, profile: Profile, allocation: Allocation) -> str:
    """The job script that `submit` would pass to SLURM."""
    if profile.executor != "slurm":
        return f"# executor {profile.executor}: no job script; {allocation.per_node} tasks on this machine"

    class OfflineExecutor(submitit.SlurmExecutor):
        """Can be used without SLURM."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = OfflineExecutor(job_folder(home) / "log", python=f"$HOLD {_python(profile)}")
    executor.update_parameters(**_parameters(works, home, profile, allocation))
    if len(works) > 1:
        executor.parameters["map_count"] = len(works)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def submit(works: Sequence[Work], home: Path, profile: Profile, allocation: Allocation) -> list[Job]:
    """Submits the works as one job or one array; `home` is their common folder.

    Raises:
        UserError: if a job or a trainer is using one of the folders, or SLURM rejects the job.
    """
    logging.getLogger("submitit").setLevel(logging.ERROR)
    if profile.executor == "slurm" and not shutil.which("sbatch"):
        raise UserError("sbatch not found; submit from a login node of the cluster, or use profile=local")
    own = {work.folder: work for work in works}
    with ExitStack() as claims:
        for folder in own:
            claims.enter_context(submission_lock(folder))
        for work in own.values():
            _write(work, profile)
        (job_folder(home) / "log").mkdir(parents=True, exist_ok=True)
        _list_file(works, home).write_text(_folders(works))
        make = {"slurm": _to_slurm, "local": _to_this_machine, "debug": _to_this_process}[profile.executor]
        jobs = []
        for work, job in zip(works, make(works, home, profile, allocation)):
            jobs.append(Job(profile.executor, job.job_id, str(job.paths.stdout)))
            write_job(work.folder, jobs[-1] if len(own) > 1 or len(works) == 1 else jobs[-1].whole_array())
    return jobs


def _write(work: Work, profile: Profile) -> None:
    """Copies code and settings into the folder, so that a requeue days later finds them as they are now."""
    folder = job_folder(work.folder)
    copy = folder / "code.new"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(_PACKAGE, copy / _PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / "code", ignore_errors=True)
    copy.rename(folder / "code")
    (folder / "profile.yaml").write_text(profiles.to_yaml(profile))
    if work.recipe is not None:
        (folder / "recipe.yaml").write_text(work.recipe)


def check_folder(folder: Path) -> None:
    """Raises RecipeError for a run folder whose name would mean something else in a job script.

    Everything in the script is quoted; these have a meaning inside quotes too.
    """
    for letter, why in (("%", "SLURM replaces it in the names of logs"), ("\\", "SLURM reads it in the names of logs"),
                        (":", "it ends a folder in PYTHONPATH"), ("\n", "it ends a line of the job script")):
        if letter in str(folder):
            raise RecipeError(f"{folder}: a job's folder cannot have {letter!r} in its path, as {why}; choose another "
                              "run_dir")


def _folders(works: Sequence[Work]) -> str:
    """The folders of an array's tasks, one per line."""
    return "".join(f"{work.folder}\n" for work in works)


def _list_file(works: Sequence[Work], home: Path) -> Path:
    """The file that lists them; each array has its own, since several may share one folder of runs."""
    return job_folder(home) / f"runs-{key_of(_folders(works)):016x}"


def _python(profile: Profile) -> str:
    return profile.python or shlex.quote(sys.executable)


def _parameters(works: Sequence[Work], home: Path, profile: Profile, allocation: Allocation) -> dict[str, Any]:
    """Submitit's parameters for a SLURM job."""
    extra = {"requeue": True, **profile.sbatch}
    elastic = allocation.fewest != allocation.most
    if elastic:  # with ntasks-per-node, SLURM would allocate hardly more than the fewest nodes
        extra |= {"nodes": f"{allocation.fewest}-{allocation.most}",
                  "mincpus": allocation.per_node * profile.cpus_per_task}
    if profile.gres:
        extra["gres"] = f"{profile.gres}:{allocation.per_node}"
    parameters = {
        "job_name": home.name, "nodes": allocation.most, "ntasks_per_node": None if elastic else allocation.per_node,
        "cpus_per_task": profile.cpus_per_task, "time": profile.time_minutes, "partition": profile.partition,
        "account": profile.account, "qos": profile.qos, "constraint": profile.constraint,
        "mem": f"{profile.memory_gb * 1024:.0f}M" if profile.memory_gb else None,
        "signal_delay_s": profile.signal_seconds, "stderr_to_stdout": True,
        # A rank that exits early or fails must not end the others: they notice it, and may have something to save.
        "srun_args": ["--wait=0", "--kill-on-bad-exit=0", "--distribution=block",
                      f"--ntasks-per-node={allocation.per_node}", f"--cpus-per-task={profile.cpus_per_task}",
                      *profile.srun],
        "setup": [
            f'RUN="$(sed -n "$((${{SLURM_ARRAY_TASK_ID:-0}} + 1))p" {shlex.quote(str(_list_file(works, home)))})"',
            'export PYTHONPATH="$RUN/job/code${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1',
            'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
            *(f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()),
            # Blocks signals while Python starts, until the trainer handles them; older versions of `env` cannot.
            f'HOLD="$({_HOLD} true 2>/dev/null && echo "{_HOLD}")"',
            *profile.setup],
        "teardown": [f'exec {_python(profile)} -m scalegan.cluster.job_outcome "$RUN" $?'],
        "additional_parameters": extra,
    }
    return {key: value for key, value in parameters.items() if value is not None}


def _to_slurm(works: Sequence[Work], home: Path, profile: Profile, allocation: Allocation) -> list[submitit.Job]:
    executor = submitit.SlurmExecutor(job_folder(home) / "log", python=f"$HOLD {_python(profile)}")
    executor.update_parameters(**_parameters(works, home, profile, allocation))
    try:
        with redirect_stderr(io.StringIO()):  # Submitit also prints the error that we raise
            return executor.submit_array([work.task for work in works])
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"sbatch rejected the job: {_sbatch_message(error)}") from error


def _to_this_machine(works: Sequence[Work], home: Path, profile: Profile,
                     allocation: Allocation) -> Iterator[submitit.Job]:
    """Background processes that outlive this one."""
    if profile.setup or profile.srun or profile.sbatch:
        raise UserError("setup, srun and sbatch in the profile need executor=slurm; remove them for executor=local")
    for work in works:
        executor = submitit.LocalExecutor(job_folder(work.folder) / "log", python=profile.python)
        executor.update_parameters(
            nodes=allocation.most, tasks_per_node=allocation.per_node, timeout_min=profile.time_minutes,
            gpus_per_node=allocation.per_node if profile.gres else 0, signal_delay_s=profile.signal_seconds,
            stderr_to_stdout=True)
        with _variables(work.folder, profile), _detached_output():
            yield executor.submit(work.task)


def _to_this_process(works: Sequence[Work], home: Path, profile: Profile,
                     allocation: Allocation) -> list[submitit.Job]:
    """Runs the works right away, one after another, in this process, for a debugger."""
    jobs = []
    for work in works:
        jobs.append(submitit.DebugExecutor(job_folder(work.folder) / "log").submit(work.task))
        with _variables(work.folder, profile):
            jobs[-1].result()
    return jobs


@contextmanager
def _variables(run: Path, profile: Profile) -> Iterator[None]:
    """Sets the environment that tasks on this machine inherit."""
    before = dict(os.environ)
    paths = [str(job_folder(run) / "code"), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update({"OMP_NUM_THREADS": before.get("OMP_NUM_THREADS", str(profile.cpus_per_task)),
                       "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", **profile.environment})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _detached_output() -> Iterator[None]:
    """Keeps background processes from holding our caller's terminal or pipe open."""
    kept = [os.dup(number) for number in range(3)]
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    try:
        yield
    finally:
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(null)


def _sbatch_message(error: Exception) -> str:
    """sbatch's own message, on one line."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in str(error).splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith(("---", "The following", "Batch job submission")))
