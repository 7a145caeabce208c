"""A click as a command: it runs in this process, and is shown as users would type it."""

import io
import json
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from scalegan.errors import UserError, one_line
from scalegan.support import progress
from scalegan.support.arguments import PREFIX

Watch = Callable[[str, int, int], None]
_one_at_a_time = threading.Lock()       # of visitors: there is one device, and one stdout


class Refused(Exception):
    """What was asked cannot be done, for a reason that fits one line."""


class Stopped(Exception):
    """The visitor no longer wants the answer."""


@dataclass(frozen=True)
class Command:
    """A command to run.

    Args:
        verb: such as "sample".
        arguments: that follow; a Path is a file of the visitor's, which is shown by its name.
        out: the file or folder that the visitor would name; empty for none.
        option: by which it is named.
    """

    verb: str
    arguments: tuple[str | Path, ...]
    out: str = ""
    option: str = "--out"

    def __str__(self) -> str:
        words = [word.name if isinstance(word, Path) else word for word in self.arguments]
        return shlex.join(["scalegan", self.verb, *words, *([self.option, self.out] if self.out else [])])


@dataclass(frozen=True)
class Done:
    """What a command left.

    Args:
        out: the file or folder that it wrote.
        lines: of JSON that it printed.
        notes: what users should know.
    """

    command: Command
    out: Path
    lines: list[dict[str, Any]]
    notes: list[str]


def run(command: Command, folder: Path, watch: Watch) -> Done:
    """Runs a command, which writes into `folder` instead of where the visitor would.

    Args:
        watch: told how far long work is; may raise Stopped.

    Raises:
        Refused: if it fails.
    """
    out = folder / command.out
    words = [str(word) for word in command.arguments] + ([command.option, str(out)] if command.out else [])
    verb = import_module(f"scalegan.commands.{command.verb}")
    printed, said = io.StringIO(), io.StringIO()
    try:
        with alone(watch), redirect_stdout(printed), redirect_stderr(said):
            code = verb.main(words)
    except SystemExit:      # the parser has said why
        code = 2
    except Refused as error:
        raise Refused(_as_typed(str(error), command, folder)) from error
    told = [_as_typed(line, command, folder) for line in said.getvalue().splitlines()]
    errors = [line.partition("error: ")[2] for line in told if "error: " in line]
    if code and not (out.is_dir() and any(out.iterdir())):      # else some of several inputs failed
        raise Refused(errors[0] if errors else "the command failed")
    notes = [line.removeprefix(PREFIX) for line in told if line.startswith(PREFIX)]
    return Done(command, out, list(_json_lines(printed.getvalue())), errors + notes)


@contextmanager
def alone(watch: Watch) -> Iterator[None]:
    """Within it, nothing else computes. What goes wrong becomes one line for the visitor; what nobody foresaw leaves
    its traceback in the terminal.

    Raises:
        Refused: in place of errors.
    """
    with _one_at_a_time:
        token = progress.watcher.set(watch)
        try:
            yield
        except UserError as error:
            raise Refused(one_line(str(error))) from error
        except torch.OutOfMemoryError as error:
            raise Refused("the GPU's memory is full; ask for fewer or smaller images") from error
        except (OSError, ValueError, RuntimeError) as error:
            print(traceback.format_exc(), file=sys.__stderr__)
            raise Refused(f"{type(error).__name__}: {one_line(str(error))}") from error
        finally:
            progress.watcher.reset(token)


def _as_typed(line: str, command: Command, folder: Path) -> str:
    """A line with files named as in the command that is shown."""
    for word in command.arguments:
        if isinstance(word, Path):
            line = line.replace(str(word), word.name)
    return line.replace(f"{folder}/", "")


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)
