"""The commands in the code blocks of the documentation, as a shell understands them."""

import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from harness import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Programs that the pages name. Whatever else stands where a command would is recorded as one too.
PROGRAMS = ("scalegan", "accelerate", "torchrun", "python", "python3", "make", "pip", "uv", "conda", "docker",
            "apptainer", "sbatch")
_WRAPPERS = ("taskset", "timeout")      # with one option, and a number

# Runs blocks with all programs replaced by functions that only record their arguments, and no other program in reach.
_SHELL = """
PATH=/nowhere PWD=/here
record() { local IFS=$'\\x1f'; printf '%s\\n' "$PLACE$IFS$*" >&3; }    # one write, as sides of a pipe run at once
command_not_found_handle() { record "$@"; }
taskset() { shift 2; "$@"; }
timeout() { shift 1; "$@"; }
cd() { :; }
.() { :; }
"""

_FOR_A_SHELL = re.compile(
    rf"(\$ |(\w+=\S* )*({'|'.join((*PROGRAMS, *_WRAPPERS, 'unzip'))}) |for \w+ in |export |\w+=('|\"|\S+$))")


class Command(NamedTuple):
    """A command and where it stands."""

    place: str                  # PAGE:LINE of the block
    words: tuple[str, ...]      # without assignments of variables of the environment

    def __str__(self) -> str:
        return " ".join(self.words)


def blocks(page: Path) -> list[tuple[int, str]]:
    """(Line, text) of a page's code blocks that are for a shell: those fenced as bash, and indented ones that begin
    with a command. Where lines begin with `$`, only these are; the others are what the commands print."""
    found: list[tuple[int, str]] = []
    text = page.read_text()
    fenced = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    for block in fenced.finditer(text):
        if block[1] == "bash":
            found.append((_line(text, block.start(2)), block[2]))
    rest = fenced.sub(lambda block: "\n" * block[0].count("\n"), text)
    for block in re.finditer(r"(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+", rest):
        unindented = re.sub("^ {4}", "", block[0], flags=re.MULTILINE)
        if _FOR_A_SHELL.match(unindented):
            found.append((_line(rest, block.start()), unindented))
    if page.name == "how_to.md":        # whose commands are in the text
        found += [(_line(rest, span.start()), " ".join(span[1].split())) for span in
                  re.finditer(r"`((?:scalegan|torchrun) [^`]+)`", rest)]
    return [(line, _typed(block)) for line, block in sorted(found)]


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _typed(block: str) -> str:
    """A block without what commands print."""
    if not re.search(r"^\$ ", block, re.MULTILINE):
        return block
    return "\n".join(line[2:] for line in re.findall(r"^\$ .*(?:\\\n.*)*", block, re.MULTILINE))


@cache
def commands() -> tuple[Command, ...]:
    """Every command of every page, in the order of the pages; each once per page."""
    script = _SHELL + "".join(f"{name}() {{ record {name} \"$@\"; }}\n" for name in PROGRAMS)
    for page in PAGES:
        for line, text in blocks(page):
            script += f"PLACE={page.relative_to(ROOT)}:{line}\n{text}\n"
    with TemporaryDirectory() as folder:        # for what the blocks redirect
        done = subprocess.run(["/bin/bash", "-c", f"exec 3>&1 >/dev/null\n{script}"], capture_output=True, text=True,
                              env={}, cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: dict[tuple[str, tuple[str, ...]], Command] = {}
    for record in done.stdout.splitlines():
        place, *words = record.split("\x1f")
        found.setdefault((place.partition(":")[0], tuple(words)), Command(place, tuple(words)))
    return tuple(found.values())


def overlooked(page: Path) -> list[str]:
    """Lines of a page that begin with a command of ours and are in no block for a shell."""
    seen = {line.strip() for _, text in blocks(page) for line in text.splitlines()}
    names = r"scalegan|torchrun|accelerate launch|make|python tools/\S+"
    ours = re.compile(rf"^ *(?:\$ )?((?:[A-Z_]+=\S* )*(?:{names}) [^,]*)$")
    return [line for line in page.read_text().splitlines() if (found := ours.match(line)) and found[1] not in seen]
