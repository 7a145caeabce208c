"""What is due after an iteration."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Due:
    """What is due after an iteration: `last` marks the run's last one, `stop` a requested stop."""

    last: bool
    stop: bool
    checkpoint: bool
    evaluation: bool

    @property
    def save(self) -> bool:
        return self.last or self.stop or self.checkpoint


def crossed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` images was reached between `before` and `now`; 0 means never."""
    return bool(every) and now // every > before // every
