"""What Submitit runs on the compute nodes, in every task of a job. Imports torch only to train."""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from submitit import JobEnvironment
from submitit.helpers import TorchDistributedEnvironment

from scalegan.cluster import profiles as profiles
from scalegan.cluster.elastic import usable_ranks
from scalegan.cluster.records import history, job_folder, newest_checkpoint, note
from scalegan.config import Recipe, loading
from scalegan.errors import LostRank, SharedError, UserError
from scalegan.support.keys import key_of
from scalegan.support.signals import STOPPING

_FIRST_PORT, _PORTS = 20_000, 12_000  # below Linux's ephemeral ports


@dataclass(frozen=True)
class Training:
    """One task, one rank: trains a run in this process.

    A nonzero exit code is raised as SystemExit, since Submitit would handle any other ending itself.
    """

    run: str

    def __call__(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # until the trainer handles them: none is lost or kills us
        task = Task(Path(self.run))
        code = task.guarded(lambda: self._train(task))
        if code:
            raise SystemExit(code)
        return 0

    def _train(self, task: "Task") -> int:
        task.check_budget()
        recipe = _resumable(loading.load([f"recipe={job_folder(task.run) / 'recipe.yaml'}"]), task.run)
        ranks = usable_ranks(recipe, task.tasks)
        if task.rank >= ranks:
            return 0
        if task.rank == 0:
            if ranks < task.tasks:
                print(f"{ranks} of {task.tasks} tasks train: the recipe cannot run on more (lanes={recipe.lanes}, "
                      f"batch_size={recipe.batch_size}); the others exit", flush=True)
            task.note("started", nodes=os.environ.get("SLURM_JOB_NODELIST", task.environment.hostname), ranks=ranks)
        _join_environment(task.environment, ranks, task.restart)

        from scalegan.engines.ranks import ending
        from scalegan.training.launch import launch

        code = ending(lambda: launch(recipe, stopped=lambda number: task.note(
            "stopped", signal=signal.Signals(number).name)))
        if code == 0 and task.rank == 0:
            task.note("finished")
        return code


@dataclass(frozen=True)
class Preparation:
    """One task of `scalegan prepare`: writes its part of the shards; the last task to end completes the set."""

    folder: str                     # DEST.job
    arguments: tuple[str, ...]      # those of `scalegan prepare`
    part: str                       # K/N

    def __call__(self) -> int:
        task, received = Task(Path(self.folder)), []

        def interrupt(number: int, frame: object) -> None:
            received.append(number)
            raise KeyboardInterrupt

        signal.signal(signal.SIGUSR2, interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        task.note("started", nodes=os.environ.get("SLURM_JOB_NODELIST", task.environment.hostname), ranks=1)

        from scalegan.commands import prepare

        code = task.guarded(lambda: prepare.main([*self.arguments, "--part", self.part]))
        if code == 75:
            task.note("stopped", signal="SIGUSR2" if received else "SIGTERM")
        if code:
            raise SystemExit(code)
        task.note("finished")
        return 0


class Task:
    """This process as a task of its job."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.environment = JobEnvironment()
        self.job = self.environment.job_id
        self.rank, self.tasks = self.environment.global_rank, self.environment.num_tasks
        self.restart = int(os.environ.get("SLURM_RESTART_COUNT", 0))

    def note(self, event: str, **facts: object) -> None:
        note(self.run, event, self.job, self.restart, **facts)

    def guarded(self, work: Callable[[], int]) -> int:
        """Returns work(), or its error's exit code; an error is noted as this rank's, so the job is not requeued."""
        try:
            return work()
        except UserError as error:
            if self.rank == 0 or not error.shared:
                if error.exit_code != 75 and not isinstance(error, LostRank):
                    self.note("failed", rank=self.rank, why=str(error))
                print(f"scalegan: error: {'' if self.rank == 0 else f'rank {self.rank}: '}{error}", file=sys.stderr,
                      flush=True)
            return error.exit_code
        except Exception as error:
            self.note("failed", rank=self.rank, why=f"{type(error).__name__}: {error}")
            traceback.print_exc()
            return 1

    def check_budget(self) -> None:
        """Raises SharedError if SLURM has restarted the job too often; our own requeues are counted elsewhere."""
        allowed = profiles.load(str(job_folder(self.run) / "profile.yaml"), []).max_preemptions
        own = sum(event["event"] == "requeued" and event["because"] != "preempted"
                  for event in history(self.run, self.job))
        if allowed is not None and self.restart - own > allowed:
            raise SharedError(f"the job was preempted or requeued {self.restart - own} times "
                              f"(max_preemptions={allowed}); submit the run again to continue")


def _resumable(recipe: Recipe, run: Path) -> Recipe:
    """`resume=never` applies to a job's first start; restarts resume from its own checkpoints."""
    if recipe.resume != "never":
        return recipe
    newest = newest_checkpoint(run)
    submitted = (job_folder(run) / "recipe.yaml").stat().st_mtime
    return replace(recipe, resume="auto") if newest and newest[1] > submitted else recipe


def _join_environment(job: JobEnvironment, ranks: int, restart: int) -> None:
    """Sets the environment variables by which torch finds the other ranks."""
    if ranks == 1:
        os.environ["WORLD_SIZE"] = "1"      # of however many tasks: the others have left
        return
    found = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    port = _FIRST_PORT + key_of("port", job.job_id, restart) % _PORTS
    os.environ.update(WORLD_SIZE=str(ranks), MASTER_PORT=str(port),
                      MASTER_ADDR="127.0.0.1" if job.num_nodes == 1 else _reachable(found.master_addr))


def _reachable(host: str) -> str:
    """The first node's name, or its address if SLURM's node names are not host names."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return os.environ.get("SLURM_LAUNCH_NODE_IPADDR", host)  # set by srun, which runs on the first node
    return host
