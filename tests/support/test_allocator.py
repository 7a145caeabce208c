"""Freed memory stays in the process."""

import os
import platform
import subprocess
import sys

import pytest

CHURN = """
import resource, sys
import torch
from scalegan.support.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(10):     # the heap grows to its final size
    torch.ones(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, **environment: str) -> int:
    """Page faults of 20 tensors of 80 MB, each freed before the next; glibc keeps blocks up to 32 MB by default."""
    done = subprocess.run([sys.executable, "-c", CHURN, how], env=os.environ | environment, check=True,
                          capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries' allocators are left alone")
def test_blocks_are_used_again_without_page_faults_unless_the_environment_decides() -> None:
    without = page_faults("leave")
    assert without > 0
    assert page_faults("keep") < 0.1 * without
    assert page_faults("keep", MALLOC_MMAP_THRESHOLD_="131072") > 0.9 * without
