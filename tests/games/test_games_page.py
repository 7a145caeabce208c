"""docs/games.md: the worked example is short, runs, and learns."""

import re

import pytest
from harness import ROOT, spawn

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "games.md").read_text(), re.DOTALL)


def play(ranks) -> dict[str, float]:
    """Runs the page's code as it stands; returns the last update's figures."""
    space: dict = {}
    for block in BLOCKS:
        exec(compile(block, "docs/games.md", "exec"), space)
    return {name: float(value) for name, value in space["figures"].items()}


def test_the_game_takes_40_lines() -> None:
    assert len(BLOCKS) == 2
    assert sum(1 for line in BLOCKS[0].splitlines() if line.strip()) <= 40


@pytest.mark.slow
def test_the_worked_example_runs_and_q_learns_the_code() -> None:
    figures, = spawn(1, play)
    assert figures["code"] < 1.0 < 2.07944  # ln 8, where Q knows nothing
