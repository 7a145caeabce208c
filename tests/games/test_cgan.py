"""CGAN: its networks, its closed form, and the paper's optimizer."""

import math

import pytest
import torch
from small_games import SAMPLES, batch_for, conditional
from torch import nn

from scalegan.config import loading
from scalegan.engines import optimizers
from scalegan.games.cgan import networks as of_cgan
from scalegan.randomness import Draws
from scalegan.schedules import at


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_networks_of_the_cgan_paper() -> None:
    generator, discriminator = of_cgan.Generator((1, 28, 28), 10), of_cgan.Discriminator((1, 28, 28), 10)
    assert (count(generator), count(discriminator)) == (2_413_984, 1_224_351)
    z = generator.latent(Draws(0, 0, "G", torch.arange(100)))
    assert z.shape == (100, 100) and 0 <= z.min() < 0.01 and 0.99 < z.max() < 1
    x = generator.eval()(z, torch.arange(100) % 10)
    assert x.abs().max() < 1 and x.shape == (100, 1, 28, 28)
    both = torch.eye(10)[3] + torch.eye(10)[5]
    rows = of_cgan.Conditions(10)
    assert rows(both[None], z[:1]).equal(both[None]) and rows(torch.tensor([3]), z[:1]).equal(torch.eye(10)[3:4])


def test_a_cgan_that_knows_nothing_is_the_unconditional_game_at_its_start() -> None:
    game, specs = conditional("CGAN")
    for parameter in game.D.parameters():
        parameter.data.zero_()
    batch = batch_for(specs, Draws(0, 0, "D", torch.arange(SAMPLES)))
    assert sum(game.phases[0].loss(batch).values()).item() == pytest.approx(2 * math.log(2))
    assert sum(game.phases[1].loss(batch).values()).item() == pytest.approx(math.log(2))


def test_both_of_cgans_players_use_the_labels() -> None:
    game, specs = conditional("CGAN")
    batch = batch_for(specs, Draws(0, 0, "D", torch.arange(SAMPLES)))
    labels = batch.labels
    with torch.no_grad():
        assert (game.eval().D(batch.reals, labels) != game.D(batch.reals, (labels + 1) % 3)).all()
        z = game.G.latent(batch.draws)
        assert (game.G(z, labels) - game.G(z, (labels + 1) % 3)).abs().amax((1, 2, 3)).min() > 1e-3


PAPER = ("optimizer.default={name: sgd, lr: {kind: exponential, start: 0.1, end: 1e-6, images: 28_783_000}, "
         "momentum: {kind: linear, start: 0.5, end: 0.7, images: 1_250_000}}")


def test_the_optimizer_of_the_cgan_paper() -> None:
    """A learning rate divided by 1.00004 in each update, of 100 images, down to 1e-6, and a momentum that rises."""
    settings = {"G": loading.load(["recipe=cgan_mnist", PAPER]).optimizer["G"]}
    for updates in (0, 1, 1000, 250_000, 400_000):
        assert at(settings["G"].lr, 100 * updates) == pytest.approx(max(0.1 / 1.00004**updates, 1e-6), rel=1e-4)
    player = nn.Linear(1, 1, bias=False)
    player.players, player.phases, player.bounds = {"G": player}, [], {}
    of_players = optimizers.make(settings, player)
    player.weight.data.fill_(1)
    moved = []
    for images in (0, 625_000):
        optimizers.schedule(of_players, settings, player, images)
        player.weight.grad, before = torch.ones(1, 1), player.weight.item()
        of_players["G"].step()
        moved.append(before - player.weight.item())
    rate = 0.1 / 1.00004**6250
    assert moved == pytest.approx([0.1, rate * (1 + 0.6)], rel=1e-4)
