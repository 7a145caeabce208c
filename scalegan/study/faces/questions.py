"""The study's questions by name, in the paper's order."""

from collections.abc import Mapping

from scalegan.study.faces import generation, rebuilding, recognition, several, speed, transformation
from scalegan.study.faces.question import Question

QUESTIONS: Mapping[str, Question] = {
    "recognition": recognition.QUESTION, "rebuilding": rebuilding.QUESTION, "generation": generation.QUESTION,
    "transformation": transformation.QUESTION, "several": several.QUESTION, "speed": speed.QUESTION}
