"""What the paper claims, beside what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim, and whether it holds of the figures.

    Args:
        text: what is claimed.
        figures: on which that depends, as a reader may check it.
    """

    text: str
    holds: bool
    figures: str

    def line(self) -> str:
        return f"- {self.text}: **{'holds' if self.holds else 'does not hold'}** ({self.figures})."


def least(text: str, values: Mapping[str, float], own: str, digits: int) -> Claim:
    """The claim that a row has the least of some values."""
    return _extreme(text, values, own, digits, -1)


def greatest(text: str, values: Mapping[str, float], own: str, digits: int) -> Claim:
    """The claim that a row has the greatest of some values."""
    return _extreme(text, values, own, digits, 1)


def _extreme(text: str, values: Mapping[str, float], own: str, digits: int, sign: int) -> Claim:
    figures = ", ".join(f"{name} {value:.{digits}f}" for name, value in values.items())
    return Claim(text, all(sign * values[own] > sign * value for name, value in values.items() if name != own), figures)
