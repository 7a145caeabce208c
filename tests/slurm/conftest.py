"""A local SLURM for the tests in this folder, started before the first and shut down after the last."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster

from tools.local_cluster import cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """Four nodes, partitions low and high; one test process at a time, since starting SLURM ends a running one."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM on this machine needs root")
    if not shutil.which("slurmctld", path=cluster.search_path()) and not shutil.which("apt-get"):
        pytest.skip("SLURM is not installed, and there is no apt-get to install it")
    with Path(tempfile.gettempdir(), "scalegan_tests_of_slurm.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail("another process runs these tests")
        before = os.environ.get("SLURM_CONF")
        cluster.up(4)
        os.environ["SLURM_CONF"] = str(cluster.FOLDER / "slurm.conf")
        yield Cluster()
        cluster.down()
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
