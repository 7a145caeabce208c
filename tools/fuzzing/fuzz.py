"""Damages one file after another and runs a command that reads it. The command must end well, or with one line that
says what is wrong: never with a traceback, after more than 20 s, with more than 2 GB, or with a write outside its
folder.

A case follows from its seed and its kind alone, so each can be repeated without the others.
"""

import argparse
import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tools.fuzzing import contents, places, sandbox
from tools.fuzzing.doors import call, warm
from tools.fuzzing.kinds import KINDS, Kind, words_of
from tools.fuzzing.sandbox import Ending

_CODES = (0, 1, 2, 3, 75)
_ERROR = "scalegan: error:"


@dataclass(frozen=True)
class Case:
    """One damage and one command."""

    seed: int
    kind: str


def cases(seed: int, count: int, only: str | None) -> list[Case]:
    """The first has the seed itself, so that a case can be repeated alone. All kinds come equally often."""
    order = list(KINDS)
    Random(seed).shuffle(order)
    return [Case(_nth(seed, number), only or order[number % len(order)]) for number in range(count)]


def _nth(seed: int, number: int) -> int:
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "little") if number else seed


class Fuzzer:
    """Makes originals once, in a temporary folder, and runs cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        warm()

    def original(self, kind: Kind) -> Path:
        """The folder of a kind's good files."""
        made = self.folder / "originals" / kind.original.__name__
        if not made.exists():
            self._make(kind, sandbox.cleared(made))
        return made

    def _make(self, kind: Kind, folder: Path) -> None:
        def scalegan(*words: object) -> None:
            code = call([str(word) for word in words])
            if code:
                raise RuntimeError(f"scalegan {' '.join(map(str, words))} ended with {code}")

        def make() -> int:
            kind.original(scalegan)
            return 0

        ending = sandbox.run(folder, make)
        if ending.code:
            raise SystemExit(f"cannot make good files of kind {kind.original.__name__}:\n{ending.output}")

    def run(self, case: Case) -> tuple[str, str | None]:
        """What was done, and what was wrong with how the command took it."""
        kind, random = KINDS[case.kind], Random(case.seed)
        around = sandbox.cleared(self.folder / "case")
        (around / "outside").mkdir()
        folder = around / "files"
        shutil.copytree(self.original(kind), folder, symlinks=True)
        damage: list[str] = []
        prepared = sandbox.run(folder, lambda: _damage(kind, random, around / "damage"))
        if prepared.code:
            raise RuntimeError(f"{case}: the damage failed:\n{prepared.output}")
        damage = (around / "damage").read_text(errors="replace").splitlines()
        victim = around / "outside" / "victim"
        before = victim.read_bytes() if victim.exists() else None
        (around / "files.out").unlink()
        (around / "files.outside").unlink()
        command = damage.pop()
        ending = sandbox.run(folder, lambda: call(words_of(command)))
        fault = fault_of(ending)
        if before is not None and victim.read_bytes() != before:
            fault = fault or "it changed a file outside that a link points to"
        return f"{'; '.join(damage)}; scalegan {command}", fault and f"{fault}\n{_shown(ending.output)}"


def _damage(kind: Kind, random: Random, note: Path) -> int:
    """Damages a file in the current folder, and notes how, and the command to run."""
    path = random.choice(sorted(path for pattern in kind.files for path in Path().glob(pattern)))
    command = random.choice(kind.commands)
    ways = ["bytes"] * 4 + ["place"] * 2 + ["own"] * (6 if kind.own else 0) + ["name"] * (2 if kind.names else 0)
    how = random.choice(ways)
    if how == "place":
        what = random.choice(list(places.PLACES))
        content = path.read_bytes()
        places.PLACES[what](path)
        what = f"{what} in its place"
        if path.is_file() and path.stat().st_size > len(content):
            what = "a giant"
    elif how == "name":
        name = random.choice(list(places.NAMES))
        what = f"a name {name}"
        places.renamed(path, places.NAMES[name])
    else:
        made, what = (kind.own if how == "own" else contents.any_bytes)(path.read_bytes(), random)
        path.write_bytes(made)
    sealed = kind.sealed and random.random() < 0.67 and path.is_file() and path.stat().st_size < 1 << 28
    if sealed and path.resolve() == path.absolute():
        _seal(path)
        what += ", sealed again"
    line = " ".join(what.split())[:300]
    note.write_text(f"{path}: {line}\n{command}\n", errors="backslashreplace")
    return 0


def _seal(path: Path) -> None:
    """Writes the file's size and digest into COMPLETE."""
    import json

    seal = path.with_name("COMPLETE")
    tree = json.loads(seal.read_text())
    content = path.read_bytes()
    tree[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    seal.write_text(json.dumps(tree))


def fault_of(ending: Ending) -> str | None:
    """What is wrong with how a command ended, or None."""
    errors = len({line for line in ending.output.splitlines() if line.startswith(_ERROR)})
    if ending.code == -14:
        return f"it took more than {sandbox.SECONDS} s"
    if "Traceback (most recent call last)" in ending.output or ending.code == 70:
        return "a traceback"
    if ending.code not in _CODES:
        return f"it ended with {ending.code}"
    if ending.peak > sandbox.PEAK_BYTES:
        return f"it took {ending.peak >> 20:,} MB"
    if "Cannot allocate memory" in ending.output or "MemoryError" in ending.output or "lloc_cpu" in ending.output:
        return "it asked for more memory than there is"
    if ending.outside:
        return f"it wrote outside: {ending.outside[0]}"
    if ending.code and ending.code not in (2, 70) and errors != 1:
        return f"it ended with {ending.code} and {errors} lines that say why"
    if ending.code and errors:
        return _prolix(ending.output[ending.output.rindex(_ERROR):])
    return None


def _prolix(message: str) -> str | None:
    lines = message.strip().splitlines()
    if len(message) > 3000:
        return f"its message has {len(message):,} characters"
    return f"its message has {len(lines)} lines" if len(lines) > 1 else None


def _shown(output: str) -> str:
    """The end of what a command printed, with long lines cut."""
    lines = output.splitlines()[-40:]
    return "\n".join(line if len(line) < 500 else f"{line[:300]} ... {line[-100:]}" for line in lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fuzz.py", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow from it")
    parser.add_argument("--cases", type=int, default=100, metavar="N", help="number of cases (default 100)")
    parser.add_argument("--seconds", type=float, metavar="S", help="begin no further case after this time")
    parser.add_argument("--only", metavar="KIND", choices=KINDS, help=f"one kind of files: {', '.join(KINDS)}")
    options = parser.parse_args(arguments)
    begin, faults, done = time.monotonic(), 0, 0
    folder = Path(tempfile.mkdtemp(prefix="scalegan-fuzz-")).resolve()
    try:
        fuzzer = Fuzzer(folder)
        for case in cases(options.seed, options.cases, options.only):
            if options.seconds is not None and time.monotonic() - begin > options.seconds:
                break
            done += 1
            what, fault = fuzzer.run(case)
            if fault:
                faults += 1
                print(f"seed {case.seed}, {case.kind}: {what}\n  {fault.strip()}\n  repeat: python tools/fuzz.py "
                      f"--seed {case.seed} --cases 1 --only '{case.kind}'\n", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{done} cases in {time.monotonic() - begin:.0f} s, {faults} faults")
    return 1 if faults else 0
