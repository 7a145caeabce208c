"""bCR: D's logits of an image and of its flipped and shifted copy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import digest, launch, reports
from torch import nn

from scalegan.augment.blit import flip_and_shift
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.consistency import Consistency
from scalegan.losses import LOSSES
from scalegan.models import dcgan
from scalegan.randomness import Draws, parameter_generators

N = 40
DRAWS = Draws(3, 0, "D", torch.arange(N))
IMAGES = Draws(1, 0, "images", torch.arange(N)).uniform("x", 3, 16, 16) * 2 - 1


def test_copies_are_flipped_and_shifted_by_up_to_four_pixels() -> None:
    flips = DRAWS.integers("flip", 2).bool().tolist()
    shifts = (DRAWS.integers("shift", 9, 2) - 4).tolist()
    for x, found, flip, (right, down) in zip(IMAGES.numpy(), flip_and_shift(IMAGES, DRAWS, 4).numpy(), flips, shifts):
        x = np.pad(x[:, :, ::-1] if flip else x, ((0, 0), (4, 4), (4, 4)), "reflect")
        assert np.array_equal(found, x[:, 4 - down : 20 - down, 4 - right : 20 - right])
    assert {True, False} == set(flips) and {s for pair in shifts for s in pair} == set(range(-4, 5))


class Counted(nn.Module):
    """D, which records its inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        self.seen.append(x)
        return self.network(x, labels)


@pytest.mark.parametrize("real, fake", [(10.0, 5.0), (3.0, 0.0)])
def test_terms_are_the_mean_squared_differences_on_the_main_phases_forward(real: float, fake: float) -> None:
    generator, discriminator = dcgan.Generator(16, width=4, latent_dim=8), Counted(dcgan.Discriminator(16, width=4))
    for name, network in (("G", generator), ("D", discriminator.network)):
        network.initialise(parameter_generators(1, name))
    batch = Batch.of(IMAGES[:16], Draws(3, 0, "D", torch.arange(16)))
    game = GAN(generator, discriminator, LOSSES["hinge"], {"bcr": Consistency(real, fake, 4)})
    terms = game.phases[0].loss(batch)
    seen = list(discriminator.seen)
    assert len(seen) == 2 + (real > 0) + (fake > 0)
    expected = {}
    for who, weight, images in (("real", real, seen[0]), ("fake", fake, seen[1])):
        if weight:
            copies = flip_and_shift(images, batch.draws.of(f"bcr/{who}"), 4)
            difference = discriminator.network(images) - discriminator.network(copies)
            expected[f"bcr_{who}"] = weight * difference.square().mean()
    assert {name for name in terms if name.startswith("bcr")} == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5) and value > 0
    parameters = list(discriminator.parameters())
    found = torch.autograd.grad(sum(terms[name] for name in expected), parameters, allow_unused=True)
    wanted = torch.autograd.grad(sum(expected.values()), parameters, allow_unused=True)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_ranks_and_a_resume_change_no_bit(tiny_recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={tiny_recipe}", "game.penalties.bcr={real: 2, fake: 1}", "total_images=384",
              "log.every_images=384"]
    launch(1, *common, f"run_dir={tmp_path / 'one'}")
    launch(2, *common, f"run_dir={tmp_path / 'resumed'}", "total_images=192")
    launch(1, *common, f"run_dir={tmp_path / 'resumed'}")
    assert digest(tmp_path / "one") == digest(tmp_path / "resumed")
    row = reports(tmp_path / "one")[-1]
    assert row["loss/D/bcr_real"] > 0 and row["loss/D/bcr_fake"] > 0
