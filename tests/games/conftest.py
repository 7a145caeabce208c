"""Fixtures for tests of games."""

from functools import partial

import pytest
import torch

from scalegan.games import compiled


@pytest.fixture
def quickly_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captures, differentiates and functionalises as usual, but skips compiling to C++, which takes minutes."""
    torch.compiler.reset()      # graphs of the tests before would be taken again, and there is a limit on their number
    monkeypatch.setattr(compiled.torch, "compile", partial(torch.compile, backend="aot_eager"))
