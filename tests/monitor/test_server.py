"""What the monitor answers, to whom, and that it only reads."""

import json
import os
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from harness import environment
from runs_made import PNG, curve, make_run, result

from scalegan.cluster.records import Job, job_folder, trainer, write_job
from scalegan.commands import monitor
from scalegan.errors import UserError
from scalegan.monitor.server import Server
from scalegan.monitor.watch import Watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, one of them two folders down."""
    make_run(tmp_path / "one", 1e-3, curve(loss=1.0), [result(20.0)])
    make_run(tmp_path / "sweep" / "lr" / "two", 2e-3, curve(loss=2.0), [result(30.0)])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "secret.png").write_bytes(PNG)
    return tmp_path


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def rows(server: Server, since: int = 0) -> dict[str, Any]:
    return json.loads(ask(server, f"/runs.json?since={since}")[2])


def test_runs_are_found_with_their_figures(server: Server) -> None:
    one, two = rows(server)["runs"]
    assert (one["name"], two["name"], one["images"], one["total"]) == ("one", "two", 1000, 2000)
    assert one["figures"] == {"loss": 1000.0, "images_per_second": 10.0, "eval/fd": 20.0, "eval/kid": 0.2,
                              "eval/kid_std": 0.5}
    details = json.loads(ask(server, f"/run/{two['id']}.json")[2])
    assert details["curves"]["loss"] == [[100, 500, 1000], [200.0, 1000.0, 2000.0]]
    compared = json.loads(ask(server, f"/compared.json?runs={one['id']},{two['id']},ffffffffffff")[2])
    assert [each["key"] for each in compared["differences"]] == ["optimizer.D.lr"]
    assert ask(server, f"/samples/{one['id']}/1000.png")[2] == PNG


def test_only_runs_that_changed_are_sent_again(server: Server, folder: Path) -> None:
    before = rows(server)
    assert rows(server, before["version"])["runs"] == []
    with (folder / "one" / "metrics.jsonl").open("a") as file:
        file.write('{"images": 1500, "loss": 5.0}\n{"images": 1600, "lo')
    after = rows(server, before["version"])
    assert [(row["name"], row["images"], row["figures"]["loss"]) for row in after["runs"]] == [("one", 1500, 5.0)]
    make_run(folder / "three", 1e-3, [])
    (folder / "one").rename(folder.parent / f"{folder.name} gone")
    found = rows(server, after["version"])
    assert [row["name"] for row in found["runs"]] == ["three"] and len(found["order"]) == 2


@pytest.mark.parametrize("path", [
    "/samples/{}/2.png", "/samples/{}/../config.yaml", "/samples/{}/..%2fconfig.png", "/samples/{}/secret.png",
    "/{}/config.yaml", "/../../etc/passwd", "//etc/passwd", "/run/{}.json/..", "/run/ffffffffffff.json",
    "/samples/ffffffffffff/1000.png", "/samples/{}/999999999999999999.png", "/page.css", "/favicon.ico", "/%00"])
def test_there_is_nothing_else(path: str, server: Server) -> None:
    assert ask(server, path.format(rows(server)["order"][0]))[0] == 404


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:80", 200), ("localhost", 200), ("[::1]:8008", 200), ("evil.example", 403), ("", 403),
    ("127.0.0.1.evil.example", 403)])
def test_other_names_of_this_machine_are_refused(host: str, status: int, server: Server) -> None:
    assert ask(server, "/runs.json", Host=host)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_but_get_is_answered(method: str, server: Server) -> None:
    assert ask(server, "/", method)[0] == 501


def test_answers_keep_other_sites_out(server: Server) -> None:
    _, headers, content = ask(server, "/")
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers and b"http://" not in content.replace(b"http://www.w3.org", b"")


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")}


DAMAGE = {
    "empty": b"", "bytes": b"\x00\xff" * 5000, "nested": b"[" * 20_000, "other JSON": b"null\n[]\n3\n",
    "digits": b'{"images": 1' + b"0" * 5000 + b"}\n", "a pickle": b"\x80\x04K\x01.",
    "infinite": b'{"images": 5, "loss": 1e999, "' + b"x" * 5000 + b'": -Infinity}\n'}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_survived_and_nothing_written(content: bytes, server: Server, folder: Path) -> None:
    run = folder / "one"
    for name in ("metrics.jsonl", "evaluations.jsonl", "rollbacks.json", "config.yaml", "config.7.yaml", "job/job.json",
                 "job/history.jsonl", "last_phase/0.json", ".lock", ".lease", "samples/000000000007.png",
                 "checkpoints/000000000007/state.json", "checkpoints/000000000007/COMPLETE"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content)
    os.mkfifo(run / "samples" / "000000000008.png")
    (run / "samples" / "000000000009.png").symlink_to(folder / "notes" / "secret.png")
    before = tree(folder)
    found = rows(server)
    assert [row["name"] for row in found["runs"]] == ["one", "two"] and found["runs"][0]["picture"][0] == 1000
    one, two = found["order"]
    for path in (f"/run/{one}.json", f"/compared.json?runs={one},{two}", f"/samples/{one}/7.png"):
        status, _, answer = ask(server, path)
        assert status == 200 and (path.endswith("png") or json.loads(answer))
    assert [ask(server, f"/samples/{one}/{images}.png")[0] for images in (8, 9)] == [404, 404]
    assert tree(folder) == before


def test_many_visitors_at_once(server: Server) -> None:
    one, two = rows(server)["order"]
    paths = ["/runs.json", f"/run/{one}.json", f"/run/{two}.json", f"/compared.json?runs={one},{two}"] * 8
    answers: list[tuple[str, int, bytes]] = []
    def visit(path: str) -> None:
        status, _, content = ask(server, path)
        answers.append((path, status, b"" if path == "/runs.json" else content))
    threads = [threading.Thread(target=visit, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == len(paths) and {status for _, status, _ in answers} == {200} and len(set(answers)) == 4


def test_a_port_in_use_is_said(server: Server, folder: Path) -> None:
    with pytest.raises(UserError, match=f"port {server.server_port} cannot be used .* name another with --port"):
        monitor.main([str(folder), "--port", str(server.server_port), "--no-browser"])
    with pytest.raises(UserError, match="is not a folder"):
        monitor.main([str(folder / "none")])


def test_a_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    """A run may start while its folder is looked at, and folders of other people can be looked at."""
    (tmp_path / ".lock").write_text("process 7 on here")
    assert trainer(tmp_path) is None
    code = ("import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); "
            "sys.stdin.read()")
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / ".lock"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=environment())
    try:
        holder.stdout.readline()
        (tmp_path / ".lock").chmod(0o444)
        assert trainer(tmp_path) == "process 7 on here"
    finally:
        holder.communicate(timeout=60)
    assert trainer(tmp_path) is None


SQUEUE = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *--jobs*1*) echo "1 1 RUNNING"; echo "3_0 3 PENDING"; echo "3_4 3 RUNNING";; esac
"""


def test_slurm_is_asked_once_for_all_jobs(folder: Path, tmp_path_factory: pytest.TempPathFactory,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path_factory.mktemp("bin")
    (tools / "squeue").write_text(SQUEUE.format(log=tools / "log"))
    (tools / "squeue").chmod(0o755)
    for name, job in {"one": "1", "three": "2", "four": "3_4", "five": "3", "six": "--user=root"}.items():
        job_folder(folder / name).mkdir(parents=True, exist_ok=True)
        write_job(folder / name, Job("slurm", job, "log"))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    states = {row["name"]: row["state"] for row in Watch([folder]).changes()["runs"]}
    assert states == {"five": "pending", "four": "running", "one": "running", "six": "unknown", "three": "not running",
                      "two": "not running"}
    assert len((tools / "log").read_text().splitlines()) == 1


def test_without_slurm_the_state_of_its_jobs_is_unknown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_folder(folder / "one").mkdir()
    write_job(folder / "one", Job("slurm", "1", "log"))
    monkeypatch.setenv("PATH", "")
    one, two = Watch([folder]).changes()["runs"]
    assert (one["state"], two["state"]) == ("unknown", "not running") and "squeue not found" in one["why"]
