"""Submits a run as a SLURM job: `scalegan submit recipe=NAME profile=NAME nodes=4 gpus_per_node=8 key=value ...`.

The run is saved and requeued at its time limit, saved when it is preempted, and resumes by itself each time, with the
code as submitted. `nodes=2-4` lets SLURM choose. `recipe=a,b seed=0-4` submits all combinations as one array, in
folders named after what varies; a list varies only in brackets, as in `eval.metrics=[fid],[kid]`. `profile.KEY=value`
overrides a key of the profile. --dry-run prints the job script.

`scalegan submit prepare SOURCE DEST ... profile=NAME tasks=N` divides `scalegan prepare SOURCE DEST ...` among the N
tasks of an array; its run folder, for status and stop, is DEST.job.
"""

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from scalegan.cluster import profiles as profiles
from scalegan.cluster.elastic import usable_ranks
from scalegan.cluster.profiles import Profile
from scalegan.cluster.sweep import expand, varying_keys
from scalegan.config import loading
from scalegan.config.auto import Device
from scalegan.config.help import describe_keys, help_text
from scalegan.errors import RecipeError, UserError
from scalegan.training import automatic

USAGE = ("submit recipe=NAME_OR_PATH profile=NAME_OR_PATH [nodes=N|N-M] [gpus_per_node=M] [key=value ...] [--dry-run]")
EXAMPLES = """examples:
  scalegan submit recipe=lsun_bedroom profile=gpu_cluster nodes=4 gpus_per_node=8 run_dir=/shared/runs/bedroom --dry-run
  scalegan submit recipe=celeba_dcgan seed=0-4 profile=my_cluster.yaml gpus_per_node=8 run_dir=/shared/runs/seeds"""
KEYS = [("recipe", "", "What to train; with commas, a sweep."),
        ("profile", "", "Job settings for the cluster; a name or a path."),
        ("nodes", "1", "Number of nodes; N-M takes whatever is free in that range."),
        ("gpus_per_node", "1", "Tasks per node: one per GPU, or on CPUs if the profile's gres is null."),
        ("tasks", "1", "With prepare: number of tasks that share the work.")]
_USUAL_MEMORY = 16 << 30    # bytes that recipe=auto counts on, as nobody knows which GPUs the job will get


@dataclass(frozen=True)
class Request:
    """The parsed command line."""

    profile: Profile
    own: dict[str, str]     # nodes, gpus_per_node, tasks
    rest: list[str]         # arguments of the run
    dry_run: bool


def main(arguments: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(help_text(USAGE, __doc__, [*KEYS, *describe_keys(Profile, "profile.")]))
        print(f"\n{EXAMPLES}\n\nProfiles: {', '.join(profiles.available())}.\n"
              "`scalegan train --help` explains the keys of recipes.")
        return 0
    if find_spec("submitit") is None:
        raise UserError("submitting jobs needs Submitit: pip install 'scalegan[slurm]'")
    request = _request(arguments)
    if request.rest[:1] == ["prepare"]:
        return _submit_preparation(request)
    return _submit_training(request)


def _submit_training(request: Request) -> int:
    device = Device("gpu", _USUAL_MEMORY) if request.profile.gres else Device("cpu")
    loaded = [automatic.load(run, begin=not request.dry_run, device=device) for run in expand(request.rest)]
    planned = [replace(recipe, run_dir=str(Path(recipe.run_dir).resolve())) for recipe in loaded]
    if len(planned) > 1:
        print(f"a sweep of {len(planned)} runs: {' and '.join(varying_keys(request.rest))} var"
              f"{'y' if len(varying_keys(request.rest)) > 1 else 'ies'}")
    fewest, most = _nodes(request.own.get("nodes", "1"))
    per_node = _count("gpus_per_node", request.own.get("gpus_per_node", "1"))
    if request.profile.executor != "slurm" and most > 1:
        raise RecipeError(f"nodes={most}: executor {request.profile.executor} runs on this machine only; use nodes=1")
    usable = [usable_ranks(recipe, most * per_node) for recipe in planned]

    from scalegan.cluster.submission import Allocation, Work
    from scalegan.cluster.task import Training

    works = [Work(Path(r.run_dir), Training(r.run_dir), loading.to_yaml(r)) for r in planned]
    home = works[0].folder if len(works) == 1 else works[0].folder.parent
    if min(usable) < most * per_node:
        print(f"{min(usable)} of up to {most * per_node} tasks can train: lanes={planned[0].lanes}, "
              f"batch_size={planned[0].batch_size}; the others exit at once")
    return _submit(request, works, home, Allocation(fewest, most, per_node))


def _submit_preparation(request: Request) -> int:
    from scalegan.cluster.submission import Allocation, Work
    from scalegan.cluster.task import Preparation
    from scalegan.commands import prepare

    options = prepare.parse(request.rest[1:])
    tasks = _count("tasks", request.own.get("tasks", "1"))
    home = Path(f"{options.dest.resolve()}.job")
    parts = [f"{part}/{tasks}" for part in range(1, tasks + 1)]
    works = [Work(home, Preparation(str(home), tuple(request.rest[1:]), part)) for part in parts]
    return _submit(request, works, home, Allocation(1, 1, 1))


def _submit(request: Request, works: list, home: Path, allocation: object) -> int:
    from scalegan.cluster import submission

    for folder in (home, *(work.folder for work in works)):
        submission.check_folder(folder)
    if request.dry_run:
        print(submission.script(works, home, request.profile, allocation))
        return 0
    jobs = submission.submit(works, home, request.profile, allocation)
    array = f"array {jobs[0].id.split('_')[0]} of {len(jobs)} jobs" if len(jobs) > 1 else f"job {jobs[0].id}"
    print(f"submitted {array}: {allocation}")
    for work, job in zip(works, jobs):
        print(f"{work.folder}\n  log     {job.log}\n  follow  tail -F {quote(job.log)}")
    runs = " ".join(dict.fromkeys(quote(str(work.folder)) for work in works))
    print(f"status  scalegan status {runs}\nstop    scalegan stop {runs}\nresume  run the same command again "
          "once the job has ended; requeues are automatic")
    return 0


def _request(arguments: list[str]) -> Request:
    own, overrides, rest, name = {}, [], [], ""
    for argument in (a for a in arguments if a != "--dry-run"):
        key, sign, value = argument.partition("=")
        if sign and key == "profile":
            name = value
        elif sign and key in ("nodes", "gpus_per_node", "tasks"):
            own[key] = value
        elif sign and key.startswith("profile."):
            overrides.append(argument.removeprefix("profile."))
        else:
            rest.append(argument)
    if not name:
        raise RecipeError(f"no profile is given; use profile=NAME, one of {', '.join(profiles.available())}, or "
                          "profile=PATH.yaml")
    return Request(profiles.load(name, overrides), own, rest, "--dry-run" in arguments)


def _nodes(text: str) -> tuple[int, int]:
    first, sign, last = text.partition("-")
    fewest = _count("nodes", first)
    most = _count("nodes", last) if sign else fewest
    if most < fewest:
        raise RecipeError(f"nodes={text}: the second number must be the larger one")
    return fewest, most


def _count(key: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise RecipeError(f"{key}={text}: should be a positive number")
    return int(text)
