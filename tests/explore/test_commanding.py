"""Commands as clicks: what they make, and what visitors read when something is wrong."""

import shlex
from pathlib import Path

import pytest
import small_generators
from PIL import Image

from scalegan.explore import abilities, commanding, commands
from scalegan.explore.commanding import Command, Refused, Stopped
from scalegan.explore.commands import Asked
from scalegan.support.progress import Bar


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three classes, a to c."""
    return small_generators.saved("DCGAN with classes", tmp_path_factory.mktemp("exports") / "generator.safetensors")


def nothing(what: str, done: int, total: int) -> None:
    """Shows no progress."""


def test_a_command_is_shown_as_users_type_it(tmp_path: Path) -> None:
    command = Command("project", (tmp_path / "my photo.jpg", "runs/a b", "--steps", "50"), "projected")
    assert shlex.split(str(command)) == ["scalegan", "project", "my photo.jpg", "runs/a b", "--steps", "50", "--out",
                                         "projected"]


@pytest.mark.slow
def test_it_makes_what_users_get_who_type_it(export: Path, tmp_path: Path) -> None:
    from scalegan.commands import sample

    command = commands.sample(abilities.of(str(export)), Asked("0-5", labels=["a", "c"]))
    done = commanding.run(command, tmp_path, nothing)
    words = shlex.split(str(command))
    assert words[:2] == ["scalegan", "sample"] and words[-2:] == ["--out", "samples"]
    assert sample.main([*words[2:-1], str(tmp_path / "typed")]) == 0
    made = {path.name: path.read_bytes() for path in done.out.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "typed").iterdir()}
    assert len(made) == 7


@pytest.mark.parametrize("arguments, line", [
    (("--seeds", "9-3"), "argument --seeds: '9-3' runs backwards; write 3-9; see `scalegan sample --help`"),
    (("--classes", "zebra"), "zebra"),
    (("--text", "a"), "has not learnt from captions"),
], ids=["parser", "class", "text"])
def test_a_mistake_is_one_line(export: Path, tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(Refused) as caught:
        commanding.run(Command("sample", (str(export), *arguments), "samples"), tmp_path, nothing)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_files_are_named_as_visitors_know_them(export: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "text.jpg").write_text("no picture")
    with pytest.raises(Refused, match=r"^text\.jpg cannot be read"):
        commanding.run(Command("project", (tmp_path / "deep" / "text.jpg", str(export)), "projected"), tmp_path,
                       nothing)


def test_what_nobody_foresaw_is_a_line_too(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scalegan.commands import sample

    def breaks(arguments: list[str]) -> int:
        raise RuntimeError("a\nb")

    monkeypatch.setattr(sample, "main", breaks)
    with pytest.raises(Refused, match=r"RuntimeError: a.*b"):
        commanding.run(Command("sample", (str(export),), "samples"), tmp_path, nothing)


def test_long_work_is_watched_and_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scalegan.commands import sample

    seen = []

    def work(arguments: list[str]) -> int:
        with Bar("working", 10) as bar:
            for _ in range(10):
                bar.advance(1)
        return 0

    def watch(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))
        if done == 3:
            raise Stopped

    monkeypatch.setattr(sample, "main", work)
    with pytest.raises(Stopped):
        commanding.run(Command("sample", (), "samples"), tmp_path, watch)
    assert seen == [("working", 1, 10), ("working", 2, 10), ("working", 3, 10)]
    commanding.run(Command("sample", (), "samples"), tmp_path, nothing)     # the next one is not stopped


def test_some_inputs_that_fail_do_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scalegan.commands import apply
    from scalegan.support.arguments import report, warn

    def work(arguments: list[str]) -> int:
        out = Path(arguments[-1])
        out.mkdir()
        Image.new("RGB", (4, 4)).save(out / "a.png")
        warn("a is small")
        return report(["b.jpg: it is empty"])

    monkeypatch.setattr(apply, "main", work)
    done = commanding.run(Command("apply", ("run",), "answers"), tmp_path, nothing)
    assert done.notes == ["b.jpg: it is empty", "a is small"] and (done.out / "a.png").exists()
