"""Processes that end with their launcher, and workers that ignore stop signals."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import PATIENCE_SECONDS, environment

from scalegan.support import worker_pool

TRAINER = "from scalegan.support.signals import stop_with_launcher; stop_with_launcher(); print('goes on')"
LAUNCHER = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {TRAINER!r}]).returncode)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a parent's death")
@pytest.mark.parametrize("first, said", [
    ([sys.executable, "-c", LAUNCHER], "goes on\n"), (["sh", "-c", '"$@"; :', "", sys.executable, "-c", TRAINER], "")])
def test_process_1_is_the_launcher_in_a_container_and_otherwise_adopts_orphans(first: list[str], said: str) -> None:
    container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*container, "true"], capture_output=True).returncode:
        pytest.skip("needs root, for a new PID namespace")
    launched = environment(ACCELERATE_MIXED_PRECISION="no")
    found = subprocess.run([*container, *first], env=launched, timeout=PATIENCE_SECONDS, stdout=subprocess.PIPE,
                           text=True)
    assert found.stdout == said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a process's signals")
def test_a_worker_that_is_still_importing_ignores_ctrl_c() -> None:
    for _ in range(2):      # the very first start also starts multiprocessing's resource tracker
        worker = worker_pool.Worker(worker_pool._serve, str)
        try:
            status = Path(f"/proc/{worker.process.pid}/status").read_text()
            assert int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16) >> (signal.SIGINT - 1) & 1
        finally:
            worker_pool.end([worker])
