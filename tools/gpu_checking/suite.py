"""The tests that are marked `gpu`."""

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from tools.gpu_checking.check import Check, last_lines

_ROOT = Path(__file__).resolve().parents[2]


def tests(check: Check) -> None:
    """Only the files that have such tests are collected: others import what this machine may not have."""
    files = [str(path) for path in (_ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()]
    files.sort(key=lambda file: (f"{os.sep}kernels{os.sep}" not in file, file))     # short ones first
    report = check.scratch / "junit.xml"
    at_once = ["-n", "6"] if find_spec("xdist") and (os.cpu_count() or 1) >= 8 else []
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-o", "faulthandler_timeout=60",
               "-o", "faulthandler_exit_on_timeout=false", *at_once,     # slow is not failed: the part's limit ends all
               "-p", "no:cacheprovider", f"--junitxml={report}", "--basetemp", str(check.scratch / "pytest"), *files]
    output = check.out.with_name("gpu_tests.txt")       # beside the results: what a test that hangs had said is kept
    with output.open("w") as file, subprocess.Popen(
            command, cwd=_ROOT, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": _path(), "OMP_NUM_THREADS": "2"}) as process:
        try:
            ended = process.wait(max(1.0, min(check.left, 3600) - 5)) is not None
        except subprocess.TimeoutExpired:
            ended = False
            process.kill()
    said = output.read_text()
    # `tests/a.py::b PASSED [ 5%]`, or `[gw1] [ 5%] PASSED tests/a.py::b` from several processes.
    outcomes = Counter(re.findall(r"(?:^\S+::.* |\] )(PASSED|FAILED|ERROR|SKIPPED)\b", said, re.MULTILINE))
    if not outcomes:
        raise RuntimeError(last_lines(said))
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        if problem is not None:
            check.say("tests.failure", test=f"{case.get('classname')}::{case.get('name')}",
                      failed=last_lines(problem.text or problem.get("message", "")))
    failed = sorted(set(re.findall(r"(?:FAILED|ERROR) (\S+::\S+)|(\S+::\S+) (?:FAILED|ERROR)", said)))
    check.say("tests", ended=ended, exit_code=process.returncode, **outcomes, end=said.splitlines()[-1:],
              failures=["".join(names) for names in failed][:20])


def _path() -> str:
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
