"""What an update leaves behind: no gradient that somebody's figure keeps alive, none that nobody asked for."""

from collections.abc import Iterator

import pytest
import torch
from small_games import batch_of, game_of, networks

from scalegan.config import Engine
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


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Brings back what a run sets for its process."""
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    for holder, name in ((torch.backends.cudnn, "benchmark"), (torch.backends.cudnn, "deterministic"),
                         (torch.backends.cudnn, "allow_tf32"),
                         (torch.utils.deterministic, "fill_uninitialized_memory")):
        monkeypatch.setattr(holder, name, getattr(holder, name))
    products = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = products


def test_deterministic_algorithms_fill_no_memory(flags: None) -> None:
    environment.prepare(torch.device("cuda"), True)
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_what_the_key_says_in_convolutions_and_products(flags: None, tf32: bool) -> None:
    environment.prepare(torch.device("cuda"), True, Engine(tf32=tf32).tf32)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32
    assert not Engine().tf32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_fp32_is_computed_in_fp32(flags: None) -> None:
    """A convolution and a product, with and without TF32, beside float64."""
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(4, 64, 16, 16, generator=draw), torch.randn(64, 64, 3, 3, generator=draw)
    works = (lambda x, w: torch.nn.functional.conv2d(x, w), lambda x, w: x.flatten(1)[:, :576] @ w.flatten(1).T)
    for work in works:
        exact = work(x.double(), w.double())
        error = {}
        for tf32 in (False, True):
            environment.prepare(torch.device("cuda"), True, tf32)
            error[tf32] = ((work(x.cuda(), w.cuda()).cpu() - exact).norm() / exact.norm()).item()
        assert error[False] < 1e-6 < 1e-5 < error[True]
