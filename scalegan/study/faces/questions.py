"""The study's questions, in the paper's order, and the trainings that each needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scalegan.study.faces.attributes import TRANSFORMED
from scalegan.study.faces.trainings import ITERATIVE, cyclegan

INTEGRATED = ITERATIVE["integrated"]


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        trainings: the names of those that it needs, given the six attributes that change.
    """

    trainings: Callable[[Sequence[str]], tuple[str, ...]]


def _cyclegans(attributes: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(cyclegan, attributes[:TRANSFORMED]))


QUESTIONS: Mapping[str, Question] = {
    "recognition": Question(lambda attributes: (INTEGRATED, "dcgan")),
    "rebuilding": Question(lambda attributes: tuple(ITERATIVE.values())),
    "generation": Question(lambda attributes: (INTEGRATED, "cgan", "acgan")),
    "transformation": Question(lambda attributes: (INTEGRATED, "stargan", *_cyclegans(attributes))),
    "several": Question(lambda attributes: (INTEGRATED, "stargan")),
    "speed": Question(lambda attributes: (INTEGRATED, "cgan", "acgan", "stargan", *_cyclegans(attributes)[:1])),
}
