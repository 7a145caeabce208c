"""Recipes and checkpoints come from others: of the environment only documented folders reach a path, nothing a URL."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import harness
import pytest

from scalegan.checkpoints import store
from scalegan.checkpoints.marker import fingerprint
from scalegan.data.paths import expanded
from scalegan.errors import RecipeError

SECRET = "wJalrXUtnFEMI"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("SCALEGAN_DATA", "/data")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("WORK", "s3://bucket")
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.delenv("PROJECT", raising=False)


@pytest.mark.parametrize("path, found", [
    ("data/x", "data/x"), ("$SCALEGAN_DATA/x", "/data/x"), ("${SCALEGAN_DATA}/x", "/data/x"),
    ("$SCRATCH/x/${SCALEGAN_DATA}", "/scratch/me/x//data"), ("s3://bucket/x", "s3://bucket/x"),
    ("${WORK}/x", "s3://bucket/x"), ("cost$", "cost$"), ("s3://bucket/5$/x", "s3://bucket/5$/x"),
])
def test_documented_folders_are_expanded(path: str, found: str) -> None:
    assert expanded(path) == found


@pytest.mark.parametrize("path, words", [
    ("$AWS_SECRET_ACCESS_KEY/x", "is not expanded, as a path may only name $SCALEGAN_DATA, $HOME"),
    ("x/${AWS_SECRET_ACCESS_KEY}", "is not expanded"), ("$SCALEGAN_DATA/$AWS_SECRET_ACCESS_KEY", "is not expanded"),
    ("${oc.env:AWS_SECRET_ACCESS_KEY}", "is not set, and would not be expanded"),
    ("$PROJECT/x", "$PROJECT is not set; export it"), ("$NOWHERE/x", "$NOWHERE is not set"),
    ("http://host/$AWS_SECRET_ACCESS_KEY", "a URL is sent to its server"),
    ("http://host/$SCALEGAN_DATA", "a URL is sent to its server"),
    ("simplecache::http://host/${HOME}/x", "a URL is sent to its server"),
    ("file://$SCALEGAN_DATA/x", "a URL is sent to its server"),
    ("http:/$TMPDIR/x", "becomes a URL"), ("$WORK/$SCRATCH", "becomes a URL"),
])
def test_all_else_is_refused_and_never_printed(path: str, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        expanded(path, "streams.B.path")
    said = str(error.value)
    assert said.startswith(f"streams.B.path={path}") and words in said and SECRET not in said and "\n" not in said


def resealed(run: Path, path: str) -> Path:
    """The run with another data.path in its newest checkpoint, by someone who can mend checksums."""
    checkpoint = store.complete(run / "checkpoints")[-1]
    state = json.loads((checkpoint / "state.json").read_text())
    state["recipe"]["data"]["path"] = path
    (checkpoint / "state.json").write_text(json.dumps(state))
    marker = json.loads((checkpoint / "COMPLETE").read_text())
    marker["state.json"] = fingerprint(checkpoint / "state.json")
    (checkpoint / "COMPLETE").write_text(json.dumps(marker))
    return run


@pytest.mark.slow
def test_nothing_of_a_checkpoint_is_expanded(tiny_recipe: Path, tiny_set: Path, tmp_path: Path) -> None:
    """A run keeps where its data was; what someone wrote into it instead does not reach their server."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            """Logs nothing."""

    run = tmp_path / "run"
    harness.train(f"recipe={tiny_recipe}", f"run_dir={run}", f"data.path=$SCALEGAN_DATA/{tiny_set.name}",
                  "total_images=64", SCALEGAN_DATA=str(tiny_set.parent))
    assert f"path: {tiny_set}\n" in (run / "config.yaml").read_text()
    arguments = ["--metrics", "kid", "--num-samples", "8", "--num-reals", "8", "--extractor", "efflite0"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for number, path in enumerate((f"http://127.0.0.1:{server.server_port}/$AWS_SECRET_ACCESS_KEY",
                                       "$AWS_SECRET_ACCESS_KEY", "${SCALEGAN_DATA}/tiny", "~/x")):
            copy = resealed(shutil.copytree(run, tmp_path / str(number), symlinks=True), path)
            done = harness.verb("evaluate", copy, *arguments, AWS_SECRET_ACCESS_KEY=SECRET, SCALEGAN_DATA="/data")
            assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
            assert "nothing in a checkpoint is expanded" in done.stderr and "--data" in done.stderr
            assert SECRET not in done.stderr + done.stdout
    finally:
        server.shutdown()
        server.server_close()
    assert not asked
