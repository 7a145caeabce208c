"""Runs the commands of a click for each run, and shows what they made."""

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import gradio as gr

from scalegan.errors import UserError
from scalegan.explore import abilities, commanding
from scalegan.explore.abilities import Abilities
from scalegan.explore.commanding import Command, Done, Refused, Stopped

T = TypeVar("T")

_KEPT = 200         # folders of results, after which the oldest are deleted


@dataclass
class Answer:
    """What a click made with one run.

    Args:
        pictures: to show, with captions.
        commands: that make them.
        files: to download.
        notes: what to know of it.
    """

    pictures: list[tuple[Path, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, done: Done) -> Done:
        self.commands.append(str(done.command))
        self.notes += done.notes
        return done


class Workplace:
    """Where commands run, one at a time.

    Args:
        folder: of all that they write.
    """

    #: Of Gradio's events that compute: visitors wait in one line, and see where.
    queue = {"concurrency_limit": 1, "concurrency_id": "device", "trigger_mode": "always_last"}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stops: dict[str, Event] = {}
        self._folders: deque[Path] = deque()

    def place(self) -> Path:
        """A new folder; the oldest ones are deleted."""
        self._folders.append(Path(tempfile.mkdtemp(dir=self.folder)))
        while len(self._folders) > _KEPT:
            shutil.rmtree(self._folders.popleft(), ignore_errors=True)
        return self._folders[-1]

    def stop(self, request: gr.Request) -> None:
        """Stops what the visitor waits for, at its next step."""
        self._stops.setdefault(str(request.session_hash), Event()).set()

    def command(self, command: Command) -> Done:
        """Runs a short command."""
        return commanding.run(command, self.place(), lambda what, done, total: None)

    def directly(self, work: Callable[[Path], T]) -> T:
        """The result of what is no command, and writes into a new folder."""
        with commanding.alone(lambda what, done, total: None):
            return work(self.place())

    def answer(self, paths: Sequence[str], applies: Callable[[Abilities], bool],
               make: Callable[[Abilities, Callable[[Command], Done]], Answer], request: gr.Request,
               progress: gr.Progress) -> list[Answer]:
        """What `make` makes with each run that can do it. A run that fails is passed over with a note, unless all do.

        Args:
            make: from a run, and a function that runs a command.
        """
        stop = self._stops[str(request.session_hash)] = Event()

        def watch(what: str, done: int, total: int) -> None:
            if stop.is_set():
                raise Stopped
            progress((done, total), desc=what)

        made, refused = [], []
        for path in paths:
            try:
                run = abilities.of(path)
                if applies(run):
                    made.append(make(run, lambda command: commanding.run(command, self.place(), watch)))
            except Stopped:
                raise gr.Error("Stopped.", print_exception=False, duration=5) from None
            except (Refused, UserError) as error:
                refused.append(f"{Path(path).name}: {error}")
        if refused and not made:
            raise gr.Error(refused[0], print_exception=False, title="That does not work")
        return [*made, *([Answer(notes=refused)] if refused else [])]


class Results:
    """Where a tab shows answers: pictures, notes, commands, files."""

    def __init__(self, label: str) -> None:
        self.pictures = gr.Gallery(label=label, show_label=False, height="auto", object_fit="contain",
                                   elem_classes="pictures", buttons=["download", "fullscreen"])
        self.notes = gr.Markdown(visible=False)
        self.commands = gr.Code(label="To repeat it", language="shell", interactive=False, visible=False, lines=1,
                                wrap_lines=True, show_line_numbers=False)
        self.files = gr.Files(label="Downloads", interactive=False, visible=False, height=160)
        self.all = [self.pictures, self.notes, self.commands, self.files]

    def updates(self, answers: Iterable[Answer]) -> dict[Any, Any]:
        """What the parts then show."""
        answers = list(answers)
        pictures, notes, commands, files = ([each for answer in answers for each in part(answer)] for part in (
            lambda answer: answer.pictures, lambda answer: answer.notes, lambda answer: answer.commands,
            lambda answer: answer.files))
        notes = list(dict.fromkeys(notes))
        return {self.pictures: gr.update(value=[(str(path), caption) for path, caption in pictures],
                                         columns=2 if len(pictures) == 4 else min(len(pictures), 3) or 1),
                self.notes: gr.update(value="\n".join(f"- {note}" for note in notes), visible=bool(notes)),
                self.commands: gr.update(value="\n".join(commands), visible=bool(commands)),
                self.files: gr.update(value=[str(path) for path in files], visible=bool(files))}
