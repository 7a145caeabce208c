"""What an update leaves behind: no gradient that somebody's figure keeps alive, none that nobody asked for."""

import pytest
import torch
from small_games import batch_of, game_of, networks

from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.training import environment


def test_figures_do_not_keep_the_gradients() -> None:
    game = game_of("r3gan", *networks("r3gan"))
    sgd = {name: torch.optim.SGD(player.parameters()) for name, player in game.players.items()}
    engine = DDPEngine(game, sgd, Ranks(0, 1, torch.device("cpu")), 4)
    phase = game.phases[0]
    whole = sum(p.nbytes for p in game.players[phase.players[0]].parameters())
    figures = engine.update(phase, batch_of("r3gan", phase.name))
    assert len(figures) > 2
    assert all(figure.untyped_storage().nbytes() < whole / 10 for figure in figures.values())


def test_nothing_is_differentiated_but_what_moves() -> None:
    """Penalties ask for gradients of images themselves; the update's own backward does not."""
    game = game_of("r3gan", *networks("r3gan"))
    batch = batch_of("r3gan", "D")
    asked = []

    def loss(given: object) -> dict:
        images = given.reals.detach().requires_grad_(True)
        images.register_hook(asked.append)
        return {"D": game.D(images, given.labels).mean()}
    phase = next(phase for phase in game.phases if phase.name == "D")
    object.__setattr__(phase, "loss", loss)
    engine = DDPEngine(game, {name: torch.optim.SGD(p.parameters()) for name, p in game.players.items()},
                       Ranks(0, 1, torch.device("cpu")), 4)
    gradients = engine.gradients(phase, batch)
    assert not asked and any(gradient.abs().max() > 0 for gradient in gradients.values())


def test_deterministic_algorithms_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    for holder, name in ((torch.backends.cudnn, "benchmark"), (torch.backends.cudnn, "deterministic"),
                         (torch.utils.deterministic, "fill_uninitialized_memory")):
        monkeypatch.setattr(holder, name, getattr(holder, name))
    environment.prepare(torch.device("cuda"), True)
    assert not torch.utils.deterministic.fill_uninitialized_memory
