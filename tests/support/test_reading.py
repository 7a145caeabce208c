"""The door for files: what is wrong with one is a line that names it, never a hang, a traceback or gigabytes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from scalegan.errors import UserError
from scalegan.support.reading import DamagedFile, or_none, parse_json, read_bytes, read_json, read_json_lines, read_text


@dataclass
class State:
    images: Annotated[int, Field(ge=0, strict=True)]
    name: str = ""


WRONG = {
    "nothing": (b"", "is not JSON"), "half": (b'{"images": 1', "is not JSON"),
    "not UTF-8": (b"\xff\xfe{}", "not UTF-8"),
    "deep": (b"[" * 100_000, "is not JSON: nested too deeply"), "a list": (b"[1]", "the whole"),
    "deep and whole": (b'{"images":' + b"[" * 90_000 + b"]" * 90_000 + b"}", "deep"),
    "a field missing": (b"{}", "images: field required"), "another type": (b'{"images": "x"}', "images: "),
    "a fraction": (b'{"images": 1.5}', "images: "), "true": (b'{"images": true}', "images: "),
    "negative": (b'{"images": -1}', "images: "), "NaN": (b'{"images": NaN}', "NaN is not valid JSON"),
    "infinity": (b'{"images": Infinity}', "is not valid JSON"),
    "many digits": (b'{"images": ' + b"9" * 10_000 + b"}", "is not JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_damage_is_one_line_that_names_the_file(case: str, tmp_path: Path) -> None:
    content, words = WRONG[case]
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFile) as error:
        read_json(path, State)
    said = str(error.value)
    assert said.startswith(str(path)) and words in said and "\n" not in said and len(said) < 500
    assert or_none(lambda: read_json(path, State)) is None


def test_whole_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": 3, "name": "ü"}')
    assert read_json(tmp_path / "a.json", State) == State(3, "ü")
    assert parse_json('{"x": [1]}', "header") == {"x": [1]}
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json")
    assert or_none(lambda: read_text(tmp_path / "b.json")) is None and read_json_lines(tmp_path / "b.json") == []


def test_lines_that_are_half_written_or_of_another_type_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"images": 1}\n{"ima{"images": 2}\n\n[3]\n\xff\n{"images": "4"}\n{"images": 5}\n{"images": 6')
    assert [state.images for state in read_json_lines(path, State)] == [1, 5]


def test_pipes_devices_folders_and_giants_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "giant").write_bytes(b"x" * 2000)
    for path, words in ((tmp_path / "pipe", "not a regular file"), (Path("/dev/zero"), "not a regular file"),
                        (tmp_path, "not a regular file"), (tmp_path / "giant", "larger than 1,000 bytes")):
        with pytest.raises(UserError, match=words):
            read_bytes(path, 1000)
