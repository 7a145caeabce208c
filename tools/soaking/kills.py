"""Kills: which process dies, at which point, and when."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LONGEST_DELAY_SECONDS = 1.5


@dataclass(frozen=True)
class Kill:
    """Which process dies, and when.

    Args:
        victim: "rank", "launcher" or "all".
        rank: the rank that sends the signal, and that dies if `victim` is "rank".
        point: one of POINTS.
        count: on which pass through that point to strike, from 1.
        delay: seconds to wait there first.
    """

    victim: str
    rank: int
    point: str
    count: int = 1
    delay: float = 0.0

    def arm(self) -> None:
        """Installs the kill; call it in rank `rank` before training."""
        left = self.count

        def strike() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                time.sleep(self.delay)
                if self.victim == "all":
                    os.killpg(0, signal.SIGKILL)
                os.kill(os.getppid() if self.victim == "launcher" else os.getpid(), signal.SIGKILL)
        POINTS[self.point](strike)


Strike = Callable[[], None]


def _at_any_moment(strike: Strike) -> None:
    threading.Thread(target=strike, daemon=True).start()


def _at_an_iteration(strike: Strike) -> None:
    from scalegan.training import trainer

    play = trainer.play_iteration

    def watched(*arguments: object) -> None:
        play(*arguments)
        strike()
    trainer.play_iteration = watched


def _before_the_shards(strike: Strike) -> None:
    from scalegan.checkpoints import store

    write = store.HuggingFaceStorageWriter.write_data

    def watched(self: object, *arguments: object) -> object:
        strike()
        return write(self, *arguments)
    store.HuggingFaceStorageWriter.write_data = watched


def _between_shards(strike: Strike) -> None:
    """This rank's shard has been written; others may not have been."""
    from scalegan.checkpoints import store

    write = store.HuggingFaceStorageWriter.write_data

    def watched(self: object, *arguments: object) -> object:
        written = write(self, *arguments)
        strike()
        return written
    store.HuggingFaceStorageWriter.write_data = watched


def _before_a_rename_to(matches: Callable[[str], bool]) -> Callable[[Strike], None]:
    def install(strike: Strike) -> None:
        rename = Path.rename

        def watched(self: Path, target: Path) -> Path:
            if matches(Path(target).name):
                strike()
            return rename(self, target)
        Path.rename = watched
    return install


def _before_purge(strike: Strike) -> None:
    from scalegan.checkpoints import store

    discard = store.discard

    def watched(path: Path) -> None:
        strike()
        discard(path)
    store.discard = watched


def _inside_purge(strike: Strike) -> None:
    from scalegan.checkpoints import store

    remove = store.shutil.rmtree

    def watched(path: Path, *arguments: object, **options: object) -> None:
        strike()
        remove(path, *arguments, **options)
    store.shutil.rmtree = watched


POINTS: dict[str, Callable[[Strike], None]] = {
    "any moment": _at_any_moment, "iteration": _at_an_iteration, "before the shards": _before_the_shards,
    "between shards": _between_shards, "before rename": _before_a_rename_to(str.isdigit),
    "before COMPLETE": _before_a_rename_to("COMPLETE".__eq__), "before purge": _before_purge,
    "inside purge": _inside_purge,
}
OF_RANK_0 = ("before rename", "before COMPLETE", "before purge", "inside purge")  # only rank 0 commits checkpoints


def draw(chance: random.Random, ranks: int) -> Kill:
    """A random kill, of any kind."""
    point = chance.choice(sorted(POINTS))
    victim = chance.choice(["rank", "launcher", "all"])
    rank = 0 if point in OF_RANK_0 else chance.randrange(ranks)
    in_time = point == "any moment"
    return Kill(victim, rank, point, chance.randint(1, 9) if point == "iteration" else 1 if in_time else chance.choice(
        [1, 1, 2]), chance.uniform(0, _LONGEST_DELAY_SECONDS) if in_time else chance.choice([0.0, 0.0, 0.003, 0.03]))
