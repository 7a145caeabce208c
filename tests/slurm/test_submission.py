"""What needs no SLURM: sweeps, profiles, job scripts, requeue decisions, and imports on a login node."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, cli, environment

from scalegan.cluster import profiles as profiles
from scalegan.cluster import slurm as commands
from scalegan.cluster.elastic import usable_ranks
from scalegan.cluster.job_outcome import cause, exhausted
from scalegan.cluster.records import Job, job_folder, note, submission_lock, write_job
from scalegan.cluster.sweep import expand, varying_keys
from scalegan.cluster.task import Task
from scalegan.commands import submit
from scalegan.config import loading
from scalegan.config.help import describe_keys
from scalegan.errors import RecipeError, SharedError, UserError


@pytest.mark.parametrize("arguments, runs", [
    (["recipe=a", "seed=3"], [["recipe=a", "seed=3"]]),
    (["recipe=a", "run_dir=2025-01"], [["recipe=a", "run_dir=2025-01"]]),
    (["recipe=a", "game.order=[D,G]"], [["recipe=a", "game.order=[D,G]"]]),
    *(([*one], [[*one]]) for one in (
        ("recipe=a", "eval.metrics=fid,kid"), ("recipe=a", "optimizer.G.betas=0.5,0.9"),
        ("recipe=a", "model.blocks=1,2", "game.categories=4,3"),
        ("recipe=a", "eval.data.path=x,y", "streams.B.path=1-2"))),
    (["recipe=a", "eval.metrics=[fid],[fid,kid]"],
     [["recipe=a", f"eval.metrics={m}", f"run_dir=runs/a-sweep/eval.metrics={m}"] for m in ("[fid]", "[fid,kid]")]),
    (["recipe=a", "game.penalties.r1=null,{gamma: 1}", "run_dir=x"],
     [["recipe=a", f"game.penalties.r1={v}", f"run_dir=x/game.penalties.r1={v}"] for v in ("null", "{gamma: 1}")]),
    (["recipe=a", "game.loss=hinge,minimax", "optimizer.D.lr=1e-4,2e-4", "run_dir=x"],
     [["recipe=a", f"game.loss={v}", f"optimizer.D.lr={r}", f"run_dir=x/game.loss={v},optimizer.D.lr={r}"]
      for v in ("hinge", "minimax") for r in ("1e-4", "2e-4")]),
    (["recipe=a,b"], [[f"recipe={name}", f"run_dir=runs/a-b-sweep/recipe={name}"] for name in "ab"]),
    (["recipe=a", "seed=8-10", "run_dir=x"], [["recipe=a", f"seed={s}", f"run_dir=x/seed={s}"] for s in (8, 9, 10)]),
    (["recipe=x/a.yaml", "batch_size=8,16", "seed=0,5"],
     [["recipe=x/a.yaml", f"batch_size={b}", f"seed={s}", f"run_dir=runs/a-sweep/batch_size={b},seed={s}"]
      for b in (8, 16) for s in (0, 5)]),
])
def test_sweeps(arguments: list[str], runs: list[list[str]]) -> None:
    assert expand(arguments) == runs


def test_no_list_and_no_text_varies_without_brackets() -> None:
    """Every key of the schema: 1,2 is a sweep of numbers, choices and switches alone."""
    for key, default, _ in describe_keys():
        if default[:1] in "[(" and default:
            assert varying_keys([f"{key}=1,2"]) == [] and varying_keys([f"{key}=[1],[2]"]) == [key], key
    assert {key for key, _, _ in describe_keys() if key.endswith("path") and varying_keys([f"{key}=1,2"])} == set()
    varying = {"batch_size": "1,2", "engine.compile": "true,false", "data.labels": "none,class",
               "emas.x.ramp_up": "0,1", "optimizer.D.lr": "1e-4,2e-4", "game.penalties.r1.gamma": "1,2"}
    assert varying_keys([f"{key}={value}" for key, value in varying.items()]) == list(varying)


def test_a_sweep_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    dry = ["profile=local_slurm", f"run_dir={tmp_path}/x", "--dry-run"]
    assert submit.main(["recipe=quickstart", "seed=0,1", "batch_size=64,128", *dry]) == 0
    assert capsys.readouterr().out.startswith("a sweep of 4 runs: seed and batch_size vary\n")
    assert submit.main(["recipe=quickstart", "eval.metrics=fid,kid", *dry]) == 0
    assert "a sweep of" not in capsys.readouterr().out


@pytest.mark.parametrize("changes, words", [
    (["partitoin=x"], "unknown key 'partitoin'; did you mean 'partition'?"),
    (["executor=slrm"], "executor=slrm: should be 'slurm', 'local' or 'debug'"),
    (["save_seconds=60", "signal_seconds=300"], "kill_seconds=30 leaves no time to stop"),
    (["signal_seconds=6"], "signal_seconds=6 leaves no time to stop"),
    (["time_minutes=1", "signal_seconds=60"], "signal_seconds=60 takes up all of time_minutes=1"),
])
def test_wrong_profiles(changes: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace("?", r"\?")):
        profiles.load("local_slurm", changes)


def test_every_shipped_profile_loads_and_survives_a_round_trip(tmp_path: Path) -> None:
    assert {"local_slurm", "local", "debug"} < set(profiles.available())
    for name in profiles.available():
        profile = profiles.load(name, [])
        (tmp_path / "profile.yaml").write_text(profiles.to_yaml(profile))
        assert profiles.load(str(tmp_path / "profile.yaml"), []) == profile


STARTED = {"event": "started"}
PROFILE = profiles.load("local_slurm", ["max_timeouts=1", "max_failures=2"])


def stopped(name: str) -> list[dict]:
    return [STARTED, {"event": "stopped", "signal": name}]


@pytest.mark.parametrize("code, events, out_of_time, expected", [
    (0, [STARTED], True, None),
    (75, stopped("SIGTERM"), True, None),
    (75, stopped("SIGUSR2"), True, "timed out"),
    (75, stopped("SIGUSR2"), False, "preempted"),
    (75, stopped("SIGINT"), True, None),
    (1, [STARTED, {"event": "failed"}], True, None),
    (3, [STARTED, {"event": "failed"}], False, None),
    (137, [STARTED], False, "lost ranks"),
    (140, [], True, "timed out"),
    (1, [], False, "lost ranks"),
])
def test_which_ends_are_requeued(code: int, events: list[dict], out_of_time: bool, expected: str | None) -> None:
    assert cause(code, events, lambda: out_of_time) == expected


def requeued(because: str, images: int) -> dict:
    return {"event": "requeued", "because": because, "images": images}


@pytest.mark.parametrize("because, before, ends", [
    ("timed out", [], False),
    ("timed out", [requeued("preempted", 5), requeued("lost ranks", 5)], False),
    ("timed out", [requeued("timed out", 5)], True),
    ("lost ranks", [requeued("lost ranks", 5)], False),
    ("lost ranks", [requeued("lost ranks", 5), requeued("lost ranks", 7), requeued("timed out", 7)], False),
    ("lost ranks", [requeued("lost ranks", 7), requeued("lost ranks", 7)], True),
    ("preempted", [requeued("preempted", 7)] * 9, False),
])
def test_requeue_limits_are_counted_separately(because: str, before: list[dict], ends: bool) -> None:
    assert bool(exhausted(because, before, PROFILE, 7)) == ends


@pytest.mark.parametrize("tasks, ranks", [(1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (64, 4)])
def test_the_largest_number_of_ranks_that_divides_the_lanes(tasks: int, ranks: int) -> None:
    assert usable_ranks(loading.load(["recipe=quickstart"]), tasks) == ranks


@pytest.mark.parametrize("text, seconds", [("1-02:03:04", 93784), ("59:01", 3541), ("0:00", 0), ("INVALID", 0),
                                           ("UNLIMITED", float("inf"))])
def test_time_left(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_run", lambda *command: subprocess.CompletedProcess(command, 0, text + "\n", ""))
    assert commands.seconds_left("7") == seconds


def test_two_submissions_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    other = "from pathlib import Path; import sys; from scalegan.cluster.records import submission_lock\n" \
            "with submission_lock(Path(sys.argv[1])): pass"
    with submission_lock(run):
        done = subprocess.run([sys.executable, "-c", other, str(run)], capture_output=True, text=True)
        assert "another `scalegan submit` is using" in done.stderr
    assert subprocess.run([sys.executable, "-c", other, str(run)]).returncode == 0


def test_a_live_job_blocks_another_and_silence_is_not_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    job_folder(run).mkdir(parents=True)
    write_job(run, Job("slurm", "7", "log"))
    answer = {"returncode": 0, "stdout": "RUNNING\n", "stderr": ""}
    monkeypatch.setattr(commands, "_run", lambda *command: subprocess.CompletedProcess(command, **answer))
    with pytest.raises(UserError, match="already has a job: 7, running"), submission_lock(run):
        pass
    answer.update(returncode=1, stdout="", stderr="Unable to contact slurm controller")
    with pytest.raises(UserError, match="cannot tell whether job 7 is still alive"), submission_lock(run):
        pass
    answer.update(stderr="slurm_load_jobs error: Invalid job id specified")
    with submission_lock(run):
        pass


def test_the_job_script(tmp_path: Path) -> None:
    said = cli("submit", "recipe=quickstart", "profile=gpu_cluster", "nodes=2-4", "gpus_per_node=8", "--dry-run",
               "profile.environment.NCCL_SOCKET_IFNAME=ib 0", "profile.sbatch.exclude=node13",
               f"run_dir={tmp_path / 'a'}")
    assert said.returncode == 0, said.stderr
    for line in ("#SBATCH --nodes=2-4", "--ntasks-per-node=8 --cpus-per-task=8 ", "#SBATCH --gres=gpu:8",
                 "#SBATCH --requeue", "#SBATCH --signal=USR2@180", "#SBATCH --exclude=node13",
                 "export NCCL_SOCKET_IFNAME='ib 0'", "4 of up to 32 tasks can train"):
        assert line in said.stdout
    assert not (tmp_path / "a").exists()
    script = said.stdout[said.stdout.index("#!/bin/bash"):]
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("arguments, words", [
    (["recipe=quickstart", "profile=local_slurm", "sed=1"], "unknown key 'sed'; did you mean 'seed'?"),
    (["recipe=quickstart", "profile=local_slurm", "seed=0,x"], "seed=x"),
    (["recipe=quickstart", "profile=local_slurm", "lanes=5"], "lanes=5 does not divide batch_size=64"),
    (["recipe=quickstart", "profile=local_slurm", "nodes=0"], "nodes=0: should be a positive number"),
    (["recipe=quickstart", "profile=local_slurm", "nodes=4-2"], "nodes=4-2"),
    (["recipe=quickstart"], "profile=NAME"),
    (["recipe=quickstart", "profile=locl"], "there is no profile 'locl'; did you mean 'local'?"),
    (["recipe=quickstart", "profile=local", "nodes=2"], "executor local runs on this machine only"),
])
def test_mistakes_are_reported_before_submission(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = cli("submit", *arguments, f"run_dir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [
    ["--help"], ["recipes"], ["submit", "--help"], ["submit", "recipe=quickstart", "profile=local_slurm", "--dry-run"],
    ["submit", "recipe=quickstart", "profile=local_slurm", "sed=1"], ["status", "."], ["stop", "."]])
def test_login_nodes_need_no_torch(arguments: list[str], tmp_path: Path) -> None:
    """Neither torch nor anything equally slow is imported."""
    code = "import sys; sys.modules['torch'] = sys.modules['accelerate'] = sys.modules['numpy'] = None\n" \
           "from scalegan.cli import main; sys.argv[0] = 'scalegan'; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment(),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1, 2) and "Traceback" not in done.stderr, done.stderr
    assert "torch" not in done.stderr


def test_submit_from_a_checkout() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "slurm" / "submit.py"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "profile.partition" in done.stdout


@pytest.mark.parametrize("restart, own, ends", [(2, 0, False), (3, 0, True), (5, 3, False), (6, 3, True)])
def test_preemptions_have_their_own_limit(restart: int, own: int, ends: bool, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """`own` of the `restart` restarts followed our own requeues, for the time limit or lost ranks."""
    job_folder(tmp_path).mkdir()
    (job_folder(tmp_path) / "profile.yaml").write_text(
        profiles.to_yaml(profiles.load("local_slurm", ["max_preemptions=2"])))
    for number in range(own):
        note(tmp_path, "requeued", "7", number, because=("timed out", "lost ranks")[number % 2], images=5)
    for name, value in (("SUBMITIT_EXECUTOR", "slurm"), ("SLURM_JOB_ID", "7"), ("SLURM_RESTART_COUNT", str(restart))):
        monkeypatch.setenv(name, value)
    with pytest.raises(SharedError, match="max_preemptions=2") if ends else contextlib.nullcontext():
        Task(tmp_path).check_budget()
