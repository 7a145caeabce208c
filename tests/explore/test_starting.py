"""explore with what it cannot show: one line, and the exit code of a mistake."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import small_generators
from harness import environment

from scalegan import cli
from scalegan.commands import explore
from scalegan.errors import UserError

pytestmark = pytest.mark.slow
DOOR = "import sys; from scalegan.cli import main; sys.argv[0] = 'scalegan'; sys.exit(main())"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run_verb(explore.main, list(arguments)) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def test_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere does not exist" in refused(capsys, str(tmp_path / "nowhere"))
    assert "is not a run folder and contains none" in refused(capsys, str(tmp_path))
    (tmp_path / "text.safetensors").write_text("no export")
    assert "is not a generator that `scalegan export` wrote" in refused(capsys, str(tmp_path / "text.safetensors"))


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith(("gradio", "scalegan.explore"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    path = small_generators.saved("DCGAN", tmp_path / "generator.safetensors")
    with pytest.raises(UserError, match=r"pip install 'scalegan\[explore\]'"):
        explore.main([str(path), "--no-browser"])


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", DOOR, "explore", *map(str, arguments), "--no-browser"],
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.terminate()
    process.wait(30)


def test_others_are_shown_and_a_port_is_not_shared(tmp_path: Path) -> None:
    whole = small_generators.saved("DCGAN", tmp_path / "generator.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(whole.read_bytes()[:1000])
    with started(tmp_path / "broken.safetensors", whole) as first:
        address = first.stdout.readline().split()[2]
        with started(whole, "--port", address.rstrip("/").rpartition(":")[2]) as second:
            printed, errors = second.communicate(timeout=120)
        assert (second.returncode, printed) == (1, "") and "is taken; name another with --port" in errors
        first.terminate()
        assert "broken.safetensors is not a generator" in first.stderr.read()
