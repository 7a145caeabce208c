"""What an iteration leaves to be done."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Due:
    """What is to be done after an iteration: `last` is the run's, `stop` was asked for."""

    last: bool
    stop: bool
    checkpoint: bool
    evaluation: bool

    @property
    def save(self) -> bool:
        return self.last or self.stop or self.checkpoint


def crossed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` images was reached; 0 means never."""
    return bool(every) and now // every > before // every
