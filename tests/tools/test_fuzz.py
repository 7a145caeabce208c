"""Damaged files of every kind end in one line or a fallback; and the fuzzer notices where they do not."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

from tools.fuzzing import sandbox
from tools.fuzzing.fuzz import cases, fault_of
from tools.fuzzing.kinds import KINDS

CASES = 3 * len(KINDS)     # about 40 seconds


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "tools" / "fuzz.py", *map(str, arguments)], capture_output=True,
                          text=True, timeout=500)


@pytest.mark.slow
def test_no_damaged_file_brings_a_traceback_a_hang_gigabytes_or_a_write_outside() -> None:
    done = fuzz("--seed", 19, "--cases", CASES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{CASES} cases in ") and done.stdout.endswith(" 0 faults\n")


def test_a_case_can_be_repeated_alone() -> None:
    every = cases(7, 100, None)
    assert {case.kind for case in every} == set(KINDS) and len({case.seed for case in every}) == 100
    assert all(cases(case.seed, 1, case.kind) == [case] for case in every)


def end_well() -> int:
    Path("inside").write_text("x")
    return 0


def raise_something() -> int:
    raise KeyError("x")


def say_why() -> int:
    print("scalegan: error: x is damaged; remove it", file=sys.stderr)
    return 1


def say_too_much() -> int:
    print("scalegan: error: x is\ndamaged", file=sys.stderr)
    return 1


def say_nothing() -> int:
    return 1


def write_outside() -> int:
    Path("../elsewhere").write_text("x")
    return 0


def remove_outside() -> int:
    Path("../there").unlink()
    return 0


def write_through_a_link() -> int:
    Path("link").symlink_to("../there")
    Path("link").write_text("x")
    return 0


def take_memory() -> int:
    """Fresh pages, as other tests of this process may have left it freed memory."""
    fresh = mmap.mmap(-1, 5 << 26, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(fresh), mmap.PAGESIZE):
        fresh[page] = 1
    return 0


def die() -> int:
    os.abort()


ENDINGS = {end_well: None, raise_something: "a traceback", say_why: None, say_too_much: "its message has 2 lines",
           say_nothing: "it ended with 1 and 0 lines", write_outside: "it wrote outside: open",
           remove_outside: "it wrote outside: os.remove", write_through_a_link: "it wrote outside: open",
           take_memory: "it took 3", die: "it ended with -6"}


@pytest.mark.slow
@pytest.mark.parametrize("function", ENDINGS, ids=lambda function: function.__name__)
def test_what_counts_as_a_fault(function: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PEAK_BYTES", 1 << 28)     # gigabytes may take a virtual machine more than the time
    (tmp_path / "there").write_text("x")
    (tmp_path / "files").mkdir()
    found = fault_of(sandbox.run(tmp_path / "files", function))
    expected = ENDINGS[function]
    assert found == expected or (expected and (found or "").startswith(expected))


def test_a_hang_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    (tmp_path / "files").mkdir()
    ending = sandbox.run(tmp_path / "files", lambda: len(os.read(os.pipe()[0], 1)))
    assert fault_of(ending) == "it took more than 0.5 s"
