"""The tests that are marked `gpu`."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tools.gpu_checking.check import Check, last_lines

_ROOT = Path(__file__).resolve().parents[2]


def tests(check: Check) -> None:
    """Only the files that have such tests are collected: others import what this machine may not have."""
    files = [str(path) for path in (_ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()]
    files.sort(key=lambda file: (f"{os.sep}kernels{os.sep}" not in file, file))     # short ones first
    report = check.scratch / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-o", "faulthandler_timeout=60",
               "-p", "no:cacheprovider", f"--junitxml={report}", "--basetemp", str(check.scratch / "pytest"), *files]
    output = check.out.with_name("gpu_tests.txt")       # beside the results: what a test that hangs had said is kept
    with output.open("w") as file:
        done = subprocess.run(command, cwd=_ROOT, stdout=file, stderr=subprocess.STDOUT,
                              env={**os.environ, "PYTHONPATH": _path()}, check=False)
    said = output.read_text()
    if not report.exists():
        raise RuntimeError(last_lines(said))
    counts = {"passed": 0, "skipped": 0, "failed": 0}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        outcome = "failed" if problem is not None else "skipped" if case.find("skipped") is not None else "passed"
        counts[outcome] += 1
        if problem is not None:
            check.say("tests.failure", test=name, seconds=float(case.get("time", 0)),
                      failed=last_lines(problem.text or problem.get("message", "")))
        elif outcome == "passed":
            check.say("tests.pass", test=name, seconds=float(case.get("time", 0)))
    check.say("tests", exit_code=done.returncode, **counts, end=said.splitlines()[-1:])


def _path() -> str:
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
