"""FFCV's kernels where compiled code cannot be kept: compiled anew, after a line."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, environment

pytest.importorskip("numba", reason="FFCV's kernels need numba")

COMPILE = """
import errno, os, sys
from numba.core import caching
case = sys.argv[1]
if case != "full":
    for locator in (caching.InTreeCacheLocator, caching.UserWideCacheLocator):
        locator.from_function = classmethod(lambda cls, *given: None)
else:
    caching.IndexDataCacheFile.save = lambda *given: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
import numpy as np
from scalegan.data import beton_file
beton_file.require()
from scalegan.data import beton_pipeline
print(beton_pipeline.checksum(np.arange(20, dtype=np.uint8)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("case, cache, says", [("nowhere", "/dev/null/cache", "/dev/null"),
                                               ("full", "", "No space left"), ("nowhere", "here", "")],
                         ids=["no folder", "a full disk", "our own cache"])
def test_kernels_compile_without_a_place_to_keep_them(case: str, cache: str, says: str, tmp_path: Path) -> None:
    pytest.importorskip("ffcv")
    if cache == "here":
        cache = str(tmp_path / "cache")
    surroundings = environment(SCALEGAN_CACHE=cache, PYTHONPATH=str(ROOT), NUMBA_CACHE_DIR=str(tmp_path / "numba")
                               if case == "full" else "")
    done = subprocess.run([sys.executable, "-c", COMPILE, case], env=surroundings, cwd=tmp_path, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0 and int(done.stdout), done.stderr
    if says:
        assert done.stderr.count("going on without a cache; set SCALEGAN_CACHE") == 1 and says in done.stderr
    else:
        assert not done.stderr and list((tmp_path / "cache" / "compiled").rglob("*.nbi"))
