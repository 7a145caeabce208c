"""Loader processes: order, load balancing, and how they end."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import alive, wait_until

from scalegan.data.reading.workers import Workers
from scalegan.errors import UserError


@contextmanager
def workers(work: Callable[[int], int], count: int) -> Iterator[Workers]:
    made = Workers(work, count)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_results_come_in_the_order_of_the_tasks(count: int) -> None:
    def work(task: int) -> int:
        time.sleep(0.01 * (task % 3))
        return task * 10
    with workers(work, count) as some:
        for task in range(6):
            some.give(task)
        found = []
        for task in range(6, 30):
            found.append(some.take())
            some.give(task)
        assert found + [some.take() for _ in range(6)] == [10 * task for task in range(30)]


def test_slow_workers_get_fewer_tasks(tmp_path: Path) -> None:
    def work(task: int) -> bool:
        # Not a multiprocessing lock or value: a process killed while holding one would never release it.
        with contextlib.suppress(FileExistsError):
            (tmp_path / "slow").symlink_to(str(os.getpid()))
        slow = os.readlink(tmp_path / "slow") == str(os.getpid())
        time.sleep(0.05 if slow else 0.002)
        return slow
    with workers(work, 2) as some:
        for task in range(6):
            some.give(task)
        slow = 0
        for task in range(40):
            slow += some.take()
            some.give(task)
    assert 0 < slow < 18      # round-robin would give 20


def test_a_worker_that_fails_says_how_it_ended() -> None:
    def work(task: int) -> int:
        if task == 1:
            os._exit(7)
        return task
    with workers(work, 2) as some:
        for task in range(4):
            some.give(task)
        for _ in range(2):
            with pytest.raises(UserError, match=r"a loader worker died \(exit code 7\); if memory ran out"):
                [some.take() for _ in range(4)]


SCRIPT = """
import time
from scalegan.data.reading.workers import Workers
kept = [Workers(lambda task: task, 2) for _ in range(2)]
for some in kept:
    some.give(1)
    some.take()
print(*[process.pid for some in kept for process in some.processes], flush=True)
time.sleep(60)
"""


def test_they_end_with_a_killed_trainer() -> None:
    """Even if a later stream's workers have inherited the pipe ends of an earlier one."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as trainer:
        try:
            pids = [int(word) for word in trainer.stdout.readline().split()]
            assert len(pids) == 4 and all(map(alive, pids))
        finally:
            trainer.kill()
    wait_until(lambda: not any(map(alive, pids)), "the workers are gone", 30)


def test_an_error_in_the_work_is_not_taken_for_the_trainers_death(capfd: pytest.CaptureFixture[str]) -> None:
    def work(task: int) -> int:
        raise OSError("the disk is gone")
    with workers(work, 1) as some:
        some.give(0)
        with pytest.raises(UserError, match=r"a loader worker died \(exit code 1\)"):
            some.take()
    assert "the disk is gone" in capfd.readouterr().err
