"""What a recipe or a profile says never runs as shell, on the submitting machine or on a node."""

import shlex
from pathlib import Path

import pytest
from harness import cli, wait_until
from slurm_cluster import Cluster, saved_images

from scalegan.cluster import profiles
from scalegan.cluster import slurm as commands
from scalegan.cluster.records import read_job
from scalegan.config import loading
from scalegan.errors import RecipeError, UserError

SHELL = """it's "quoted" $(touch pwned) `touch pwned` ;touch pwned; & | > pwned * ~ é"""


@pytest.mark.slow
def test_a_run_folder_and_a_variable_that_look_like_shell(slurm: Cluster, tiny_recipe: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / SHELL
    said = slurm.submit(f"recipe={tiny_recipe}", f"run_dir={run}", "total_images=64",
                        f"profile.environment.NOTE={SHELL}", f"profile.sbatch.comment={SHELL}",
                        "profile.setup=['printf %s \"$NOTE\" > note']").stdout
    print(said)
    follow = next(line for line in said.splitlines() if line.startswith("  follow"))
    assert shlex.split(follow) == ["follow", "tail", "-F", read_job(run).log]
    slurm.await_end(run)
    assert saved_images(run) == 64
    assert (tmp_path / "note").read_text() == SHELL
    assert not [path for path in tmp_path.rglob("*") if path.name == "pwned"]


@pytest.mark.slow
def test_slurm_tells_a_batch_script_from_a_step(slurm: Cluster, tmp_path: Path) -> None:
    """What the next test takes for granted."""
    job = slurm.command("sbatch", "--parsable", "--nodes=1", "--ntasks=2", f"--output={tmp_path}/log",
                        "--wrap=echo batch $SLURM_NTASKS $SLURM_PROCID $SLURM_STEP_NUM_TASKS; "
                        "srun --ntasks=2 printenv SLURM_STEP_NUM_TASKS")
    wait_until(lambda: slurm.state(job) in ("COMPLETED", "FAILED"), "the job has ended")
    assert (tmp_path / "log").read_text().splitlines() == ["batch 2 0", "2", "2"]


@pytest.mark.parametrize("variables, refused", [
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, False),
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, False),
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, True),
    ({"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "2"}, False),
], ids=["a batch script", "a step of one task", "a step of two tasks", "a step of two tasks through a launcher"])
def test_the_tasks_of_a_step_are_counted(variables: dict[str, str], refused: bool,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    from scalegan.engines import ranks

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def passed(**settings: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(ranks, "PartialState", passed)
    with pytest.raises(UserError if refused else InterruptedError):
        ranks.join()


@pytest.mark.parametrize("key", ["run_dir", "resume", "data.path", "eval.weights", "eval.data.path"])
@pytest.mark.parametrize("text", ["a\ntouch pwned", "a\r", "a\0b", "\x1b[2J", "a\x85b"], ids=repr)
def test_no_path_has_a_control_character(key: str, text: str) -> None:
    tree: dict = {"run_dir": "-", "total_images": 1, "data": {"path": "-"}}
    inner = tree
    *groups, last = key.split(".")
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[last] = text
    with pytest.raises(RecipeError, match="has a line break or another control character") as error:
        loading.parse(tree, "test")
    assert str(error.value).isprintable() and f"{key}=" in str(error.value)


@pytest.mark.parametrize("line, says", [
    ('partition: "low\\ntouch pwned"', "partition=low\\\\ntouch pwned: has a line break"),
    ('account: "a\\rb"', "account=a"), ("qos: |\n  high\n", "qos=high"), ('constraint: "a\\0"', "constraint=a"),
    ('gres: "gpu\\n"', "gres=gpu"), ('srun: ["--x\\n"]', "srun.0=--x"),
    ('sbatch: {comment: "a\\nb"}', "sbatch.comment=a"), ('environment: {A: "a\\nb"}', "environment.A=a"),
    ('environment: {"A=$(touch pwned)": x}', "environment: 'A=.*' is not a variable's name"),
    ('environment: {"A;touch pwned": x}', "is not a variable's name"), ('environment: {"1A": x}', "variable's name"),
    ('sbatch: {"x\\ntouch pwned": y}', "sbatch: .* is not an option"), ('sbatch: {"--wrap": y}', "is not an option"),
])
def test_no_value_of_a_profile_ends_its_line(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(line + "\n")
    with pytest.raises(RecipeError, match=says) as error:
        profiles.load(str(path), [])
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["100%j", "a:b", "a\\b"])
def test_names_that_mean_something_inside_quotes_are_refused(name: str, tmp_path: Path) -> None:
    done = cli("submit", "profile=local_slurm", "recipe=quickstart", f"run_dir={tmp_path}/{name}", "--dry-run")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert "a job's folder cannot have" in done.stderr


@pytest.mark.parametrize("job", ["--user=root", "7 8", "", "7;8", "all"])
@pytest.mark.parametrize("command", [commands.state, commands.cancel, commands.ask_to_stop, commands.requeue])
def test_a_foreign_job_file_gives_scancel_no_options(command: object, job: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_run", lambda *words: pytest.fail(f"ran {words}"))
    with pytest.raises(UserError, match="is not the id of a job"):
        command(job)


