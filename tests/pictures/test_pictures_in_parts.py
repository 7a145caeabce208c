"""Pictures are painted a few samples at a time, as all at once may not fit where training does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import launch, samples
from small_games import bigan, game_of, infogan, networks
from torch import Tensor, nn

from scalegan.checkpoints.exports import sample
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.games.base import Game, Preview, Sample
from scalegan.games.sampling import at_once
from scalegan.latents.interpolation import walk
from scalegan.randomness import Draws
from scalegan.training import painter
from scalegan.training.launch import launch as launch_here


@pytest.mark.parametrize("shape, most", [((3, 256, 256), 32), ((3, 1024, 1024), 2), ((1, 32, 32), 2048),
                                         ((1, 64, 64, 64), 8), ((2,), 2**21), ((3, 4096, 4096), 1)])
def test_how_many_depends_on_their_size(shape: tuple[int, ...], most: int) -> None:
    assert at_once(shape) == most


class Counting(nn.Module):
    """A generator that notes how many samples it is asked for at once."""

    latent, latent_dim = "normal", 8

    def __init__(self, about: dict | None = None) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.unused = nn.Parameter(torch.zeros(1))      # says which device it is on
        if about:
            self.about = about

    def forward(self, z: Tensor, condition: Tensor | None = None, psi: float = 1.0) -> Tensor:
        self.seen.append(len(z))
        return z[:, :3, None, None].expand(-1, 3, 2, 2)


@pytest.mark.parametrize("work, count", [
    (lambda generator: sample(generator, list(range(5)), None, 1.0), 5),
    (lambda generator: walk(generator, [1, 2], 4), 5)], ids=["sample", "interpolate"])
def test_commands_generate_large_images_two_at_a_time(work: Callable[[nn.Module], Tensor], count: int) -> None:
    large, small = (Counting({"spec": vars(Spec("image", (3, side, side)))}) for side in (1024, 64))
    assert torch.equal(work(large), work(small))
    assert (large.seen, small.seen) == ([2, 2, 1], [count])


@pytest.mark.parametrize("family", ["dcgan", "biggan", "biggan_deep", "stylegan2", "r3gan", "infogan", "bigan"])
def test_parts_are_the_picture(family: str) -> None:
    of_games: dict[str, Callable[[], Game]] = {"infogan": infogan, "bigan": bigan}
    game = of_games[family]() if family in of_games else game_of(family, *networks(family))
    game.eval()
    classes = None if family in of_games else torch.arange(12) % 3
    exported = {name: game.compose(export, [game.players[player] for player in export.players])
                for name, export in game.exports.items()}
    real = {"real": Sample(Draws(0, 0, "real", torch.arange(12)).uniform("image", 1, 4, 4))}
    seen: list[int] = []
    game.G.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))

    def drawn(most: int | None) -> Tensor:
        seen.clear()
        preview = Preview(Draws(0, 0, "snapshot", torch.arange(12)), {"real": classes}, 4, lambda: real, at_once=most)
        with torch.no_grad():
            columns = game.draw(exported, preview)
        assert len(columns) == (3 if family == "bigan" else 1)
        return torch.cat(list(columns.values()))

    passes = 2 if family == "bigan" else 1      # samples and reconstructions
    whole = drawn(None)
    assert seen == [12] * passes
    torch.testing.assert_close(drawn(5), whole)
    assert seen == [5, 5, 2] * passes


@pytest.mark.slow
def test_a_run_paints_in_parts(tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"recipe={tiny_recipe}", "total_images=64"]
    launch(1, *keys, f"run_dir={tmp_path / 'whole'}")
    parts: list[int] = []

    def of_three(shape: tuple[int, ...]) -> int:
        parts.append(3)
        return 3

    monkeypatch.setattr(painter, "at_once", of_three)
    assert launch_here(loading.load([*keys, f"run_dir={tmp_path / 'parts'}"])) == 0
    assert parts and samples(tmp_path / "parts") == samples(tmp_path / "whole")
