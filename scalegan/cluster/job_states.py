"""Whether runs' jobs are alive, asked of SLURM once for all of them, and again only now and then."""

import time
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor

from scalegan.cluster import slurm
from scalegan.cluster.records import Job
from scalegan.errors import UserError

_EVERY_SECONDS = 30.0
_PATIENCE_SECONDS = 2.0


class JobStates:
    """SLURM's states of jobs: those that it knew at the last look.

    Args:
        patience: seconds to wait for the first answer; None for as long as it takes.
    """

    def __init__(self, patience: float | None = _PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._asker = ThreadPoolExecutor(1, "squeue")
        self._asked: set[str] = set()
        self._waiting: Future[dict[str, str]] | None = None
        self._at = float("-inf")
        self._states: dict[str, str] | None = None
        self._problem = "SLURM has not answered yet"

    def look(self, jobs: Collection[Job | None]) -> None:
        """Asks, unless that was done not long ago, or all answers are still awaited."""
        wanted = {job.id for job in jobs if job and _is_slurms(job)}
        due = time.monotonic() - self._at > _EVERY_SECONDS or wanted - self._asked
        if wanted and due and self._waiting is None:
            self._at, self._asked = time.monotonic(), wanted
            self._waiting = self._asker.submit(slurm.states, wanted)
        if self._waiting is not None:
            try:
                self._states = self._waiting.result(self._patience if self._states is None else 0)
            except TimeoutError:
                return
            except UserError as error:
                self._states, self._problem = None, str(error)
            self._waiting = None

    def state(self, job: Job) -> str | None:
        """As `Job.state`.

        Raises:
            UserError: if SLURM did not answer, or this is not the id of a job.
        """
        if not _is_slurms(job):
            return job.state()
        if self._states is None:
            raise UserError(self._problem)
        return self._states.get(job.id)


def _is_slurms(job: Job) -> bool:
    return job.executor == "slurm" and slurm.is_id(job.id)
