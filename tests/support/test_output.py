"""A run outlives whoever reads its output."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import PATIENCE_SECONDS, environment
from PIL import Image

from scalegan.checkpoints import store
from scalegan.support.output import Lasting

QUICK = ("recipe=toy_lecture", "total_images=2000", "log.every_images=100", "log.tensorboard=false")


def write_image(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (16, 16), (10, 200, 30)).save(path)


def test_a_stream_without_a_reader_swallows_what_it_is_given() -> None:
    read, write = os.pipe()
    stream = Lasting(os.fdopen(write, "w"))
    os.close(read)
    for _ in range(3):
        print("x" * 10_000, file=stream, flush=True)
    stream.close()


@pytest.mark.slow
def test_training_goes_on_where_output_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = subprocess.Popen([sys.executable, "-m", "scalegan", "train", *QUICK, f"run_dir={run}"], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert train.stdout.readline().startswith("run ")
    train.stdout.close()
    train.stderr.close()
    assert train.wait(PATIENCE_SECONDS) == 0
    assert store.complete(run / "checkpoints")[-1].name == "000000002000"


@pytest.mark.slow
def test_preparing_goes_on_where_output_is_gone_and_listing_ends(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "photos" / f"{number}.png")
    for command, code in ((["prepare", tmp_path / "photos", tmp_path / "set", "--resolution", "16"], 0),
                          (["train", "--help", "all"], 0), (["recipes"], 128 + signal.SIGPIPE)):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, "-m", "scalegan", *map(str, command)], stdout=writer, env=environment(),
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS)
        os.close(writer)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["a closed terminal", "under nohup"])
def test_a_hangup_saves_and_stops_unless_it_is_ignored(ignored: bool, tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    run, total = tmp_path / "run", 4_000 if ignored else 40_000_000
    command = [*(["nohup"] if ignored else []), sys.executable, "-m", "scalegan", "train", *QUICK,
               f"run_dir={run}", f"total_images={total}"]
    train = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), cwd=tmp_path,
                             start_new_session=True)
    os.close(theirs)
    reports = run / "metrics.jsonl"
    while train.poll() is None and not (reports.exists() and reports.stat().st_size):
        time.sleep(0.05)
    os.close(terminal)      # what is written from now on is an error
    train.send_signal(signal.SIGHUP)
    assert train.wait(PATIENCE_SECONDS) == (0 if ignored else 75)
    newest = store.complete(run / "checkpoints")[-1]
    assert store.verify(newest) is None and (int(newest.name) == total) == ignored
