"""LeCam regularisation: its terms, its running means, and that neither ranks nor a resume change a bit."""

from pathlib import Path

import pytest
import torch
from harness import digest, launch, reports
from torch import Tensor, nn

from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.lecam import LeCam
from scalegan.losses import LOSSES
from scalegan.randomness import Draws

REALS = torch.tensor([[3.0, 0.0], [-4.0, -2.0], [0.5, -0.5], [2.0, 2.0]])


class Sum(nn.Module):
    """D: the sum of a sample's numbers, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.weight * x.sum(1)


class Fixed(nn.Module):
    """G: z itself, of which two are drawn."""

    latent_dim, latent = 2, "normal"

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        return z


def played(penalty: LeCam) -> tuple[GAN, Batch]:
    return GAN(Fixed(), Sum(), LOSSES["hinge"], {"lecam": penalty}), Batch.of(REALS, Draws(0, 0, "D", torch.arange(4)))


def test_terms_are_those_of_the_formula_and_means_run_from_the_first_update() -> None:
    penalty = LeCam(weight=0.5, decay=0.75, start=1)
    game, batch = played(penalty)
    real, fake = REALS.sum(1), batch.draws.normal("z", 2).sum(1)
    assert game.phases[0].loss(batch)["lecam"].item() == 0          # before `start`
    penalty.advance(**penalty.drain())
    assert penalty.real.item() == pytest.approx(real.mean().item())
    assert penalty.fake.item() == pytest.approx(fake.mean().item(), abs=1e-6)

    term = game.phases[0].loss(batch)["lecam"]
    above, below = real - penalty.fake, penalty.real - fake
    expected = 0.5 * (above.clamp(min=0).square().mean() + below.clamp(min=0).square().mean())
    assert term.item() == pytest.approx(expected.item(), rel=1e-6) and (above < 0).any()
    gradient, = torch.autograd.grad(term, game.D.weight)
    wanted = (above.clamp(min=0) * real).mean() - (below.clamp(min=0) * fake).mean()
    assert gradient.item() == pytest.approx(wanted.item(), rel=1e-5)

    penalty.drain()
    penalty.advance(real=torch.tensor(10.0), fake=torch.tensor(-6.0))
    assert penalty.real.item() == pytest.approx(0.75 * real.mean().item() + 2.5)


@pytest.mark.slow
def test_ranks_and_a_resume_change_no_bit(tiny_recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={tiny_recipe}", "game.penalties.lecam={weight: 0.5, start: 2}", "total_images=384",
              "log.every_images=384"]
    launch(1, *common, f"run_dir={tmp_path / 'one'}")
    launch(2, *common, f"run_dir={tmp_path / 'resumed'}", "total_images=192")
    launch(1, *common, f"run_dir={tmp_path / 'resumed'}")
    assert digest(tmp_path / "one") == digest(tmp_path / "resumed")
    assert reports(tmp_path / "one")[-1]["loss/D/lecam"] > 0
