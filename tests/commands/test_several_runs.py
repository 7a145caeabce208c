"""`status`, `stop` and `compare` of several paths: a line for each that fails, the rest done, exit code 1."""

import json
from pathlib import Path

import pytest

from scalegan.cluster.records import Job, job_folder, write_job
from scalegan.commands import compare, status, stop
from scalegan.errors import UserError

CONFIG = "total_images: 64\nrun_dir: x\n"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two runs, the folder of their array, a picture that somebody put beside them, and a run whose job is damaged."""
    for name in ("seed=0", "seed=1", "seed=2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(CONFIG)
    (tmp_path / "job" / "log").mkdir(parents=True)
    (tmp_path / "job" / "runs-00ff").write_text(f"{tmp_path}/seed=0\n")
    return tmp_path


def broken(sweep: Path) -> Path:
    job_folder(sweep / "seed=1").mkdir()
    write_job(sweep / "seed=1", Job("slurm", "--user=root", "log"))
    (sweep / "notes.txt").write_text("mine")
    return sweep


@pytest.mark.parametrize("verb", [status, stop, compare], ids=lambda verb: verb.__name__.rpartition(".")[2])
def test_the_folder_of_a_sweeps_own_job_is_passed_over(verb: object, sweep: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(sweep)
    assert verb.main([str(path) for path in sorted(sweep.iterdir())]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert verb is compare or said.out.count("seed=") == 3
    assert verb is not compare or (sweep / "compare.html").read_text().count('"name":"seed=') == 3


@pytest.mark.parametrize("verb, done", [(status, 2), (stop, 2), (compare, 3)], ids=["status", "stop", "compare"])
def test_what_fails_is_a_line_and_the_rest_is_done(verb: object, done: int, sweep: Path,
                                                   monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(sweep)
    assert verb.main([str(path) for path in sorted(broken(sweep).iterdir())]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 4 - done and "notes.txt is not a run folder" in said.err
    if verb is compare:
        assert all(f"seed={n}" in (sweep / "compare.html").read_text() for n in range(3))
    else:
        assert said.out.count("seed=") == done and "'--user=root' in the run's job/job.json" in said.err


def test_slurm_is_asked_once_for_all_runs(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for number, run in enumerate(sorted(sweep.glob("seed=*"))):
        job_folder(run).mkdir()
        write_job(run, Job("slurm", f"7_{number}", "log"))
    bodies = {"good": 'echo "7_0 7 RUNNING"; echo "7_2 7 PENDING"', "dead": "echo no controller >&2; exit 1"}
    for name, body in bodies.items():
        (tools / "squeue").write_text(f"#!/bin/sh\necho {name} >> {tools}/log\n{body}\n")
        (tools / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        assert status.main([str(sweep)]) == (name == "dead")
    assert (tools / "log").read_text().split() == ["good", "dead"]
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.out.splitlines()[1:4]] == ["running", "not", "pending"]
    assert said.err.count("\n") == 1 and "no controller" in said.err


def test_the_others_as_json(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    assert status.main(["--json", *map(str, sorted(broken(sweep).iterdir()))]) == 1
    assert [json.loads(line)["run"][-6:] for line in capsys.readouterr().out.splitlines()] == ["seed=0", "seed=2"]


@pytest.mark.parametrize("verb", [status, stop], ids=["status", "stop"])
def test_nothing_else_is_named(verb: object, sweep: Path) -> None:
    with pytest.raises(UserError, match="contains none"):
        verb.main([str(sweep / "job")])
