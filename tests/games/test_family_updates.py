"""One update of each family against the published loss formulas, recomputed on the same weights and draws."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from harness import launch, make_set, reports
from PIL import Image
from small_games import SAMPLES, Witness, batch_of, game_of, networks
from torch import Tensor, nn

from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch
from scalegan.models import stylegan2
from scalegan.randomness import Draws

Terms = dict[str, Tensor]

# --- the formulas, as in the papers ---------------------------------------------------------------------------------


class Published:
    """Losses of one batch: z, y and noise come from the batch's draws, everything else is written out here."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, batch: Batch) -> None:
        self.G, self.D, self.x, self.y, self.draws = generator, discriminator, batch.reals, batch.labels, batch.draws

    def fake(self) -> Tensor:
        return self.G(self.draws.normal("z", self.G.latent_dim), self.y, **self.noise())

    def noise(self) -> dict[str, Callable]:
        if not isinstance(self.G, stylegan2.Generator):
            return {}
        return {"noise": lambda name, shape: self.draws.normal(f"noise/{name}", *shape[1:])}

    def slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the mean over samples of the squared norm of their gradient."""
        x = x.detach().requires_grad_()
        logits = self.D(x, self.y)
        gradient, = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return logits, (gradient**2).sum(dim=(1, 2, 3)).mean()

    def cross_entropy_d(self) -> Terms:
        """Goodfellow et al. (2014): -log s(D(x)) - log(1 - s(D(G(z))))."""
        real, fake = self.D(self.x, self.y), self.D(self.fake().detach(), self.y)
        return {"real": -torch.log(torch.sigmoid(real)).mean(), "fake": -torch.log(1 - torch.sigmoid(fake)).mean()}

    def non_saturating_g(self) -> Terms:
        return {"fake": -torch.log(torch.sigmoid(self.D(self.fake(), self.y))).mean()}

    def hinge_d(self) -> Terms:
        """Brock et al. (2019); and equation 3 for the weights."""
        real, fake = self.D(self.x, self.y), self.D(self.fake().detach(), self.y)
        return {"real": torch.clamp(1 - real, min=0).mean(), "fake": torch.clamp(1 + fake, min=0).mean(),
                "orthogonal": self.orthogonal(self.D)}

    def hinge_g(self) -> Terms:
        return {"fake": -self.D(self.fake(), self.y).mean(), "orthogonal": self.orthogonal(self.G)}

    @staticmethod
    def orthogonal(network: nn.Module) -> Tensor:
        """beta / 2 |W W^T o (1 - I)|^2, whose gradient is the published code's 2 beta (W W^T o (1 - I)) W."""
        total = torch.zeros(())
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and not name.startswith("shared"):
                gram = weight.flatten(1) @ weight.flatten(1).T
                total = total + (gram - torch.diag(torch.diag(gram))).pow(2).sum()
        return 1e-2 / 2 * total

    def lazy_r1(self) -> Terms:
        """Karras et al. (2020): gamma / 2 |grad D(x)|^2, times 16 because it is computed every 16th update."""
        return {"r1": 16 * 3.0 / 2 * self.slope(self.x)[1]}

    def path_length(self) -> Terms:
        """Weight 2, decay 0.01, on half of the batch, from a mean of 0; times 4 because it is lazy."""
        half = SAMPLES // 2
        draws = Draws(3, 0, "G.path", torch.arange(half))
        ws = self.G.mapping(draws.normal("z", self.G.latent_dim), self.y[:half])
        images = self.G.synthesis(ws, lambda name, shape: draws.normal(f"noise/{name}", *shape[1:]))
        noise = draws.normal("path", 3, 32, 32) / np.sqrt(32 * 32)
        gradient, = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
        lengths = torch.sqrt((gradient**2).sum(dim=2).mean(dim=1))
        mean = 0 + 0.01 * (lengths.mean() - 0)
        return {"path": 4 * 2.0 * ((lengths - mean) ** 2).mean()}

    def relativistic_d(self) -> Terms:
        """Huang et al. (2024): pairs, with R1 and R2 from the same forward passes."""
        (real, r1), (fake, r2) = self.slope(self.x), self.slope(self.fake())
        return {"pair": F.softplus(-(real - fake)).mean(), "r1": 5.0 / 2 * r1, "r2": 7.0 / 2 * r2}

    def relativistic_g(self) -> Terms:
        return {"pair": F.softplus(-(self.D(self.fake(), self.y) - self.D(self.x, self.y))).mean()}


FORMULAS = {
    ("dcgan", "D"): Published.cross_entropy_d, ("dcgan", "G"): Published.non_saturating_g,
    ("biggan", "D"): Published.hinge_d, ("biggan", "G"): Published.hinge_g,
    ("biggan_deep", "D"): Published.hinge_d, ("biggan_deep", "G"): Published.hinge_g,
    ("stylegan2", "D"): Published.cross_entropy_d, ("stylegan2", "G"): Published.non_saturating_g,
    ("stylegan2", "D.r1"): Published.lazy_r1, ("stylegan2", "G.path"): Published.path_length,
    ("r3gan", "D"): Published.relativistic_d, ("r3gan", "G"): Published.relativistic_g,
}


@pytest.mark.parametrize("family, phase", FORMULAS)
def test_an_update_is_the_published_formulas(family: str, phase: str) -> None:
    generator, discriminator = networks(family)
    batch = batch_of(family, phase)
    published = Published(copy.deepcopy(generator), copy.deepcopy(discriminator), batch)
    game = game_of(family, generator, discriminator)
    witnesses = {name: Witness(player) for name, player in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(move, batch)

    expected = FORMULAS[family, phase](published)
    mover = published.G if phase[0] == "G" else published.D
    gradients = torch.autograd.grad(sum(expected.values()), list(mover.parameters()), allow_unused=True)
    for name, term in expected.items():
        assert figures[name].item() == pytest.approx(term.item(), rel=1e-5, abs=1e-6), name
    found = witnesses[phase[0]].found
    whole = torch.cat([g.flatten() for g in found]).norm()
    assert whole > 1e-4
    for (name, _), one, other in zip(mover.named_parameters(), found, gradients):
        other = torch.zeros_like(one) if other is None else other
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-6 * whole, name


@pytest.mark.parametrize("family", ["dcgan", "biggan", "biggan_deep", "r3gan", "gat"])
def test_reals_and_fakes_share_a_pass_only_where_samples_do_not_see_each_other(family: str) -> None:
    _, discriminator = networks(family)
    batch = batch_of(family, "D")
    whole, half = (discriminator(batch.reals[:n], None if batch.labels is None else batch.labels[:n])
                   for n in (SAMPLES, 4))
    assert torch.allclose(whole[:4], half, rtol=1e-4, atol=1e-5) == getattr(discriminator, "per_sample", False)


# --- five hundred updates in half precision -------------------------------------------------------------------------

HALF = """extends: [_base/stylegan2]
data: {{path: "{data}", resolution: 32, workers: 0, block_records: 8, window_blocks: 4}}
model: {{channel_base: 512, channel_max: 16, latent_dim: 32, w_dim: 32, mapping_layers: 2}}
batch_size: 4
lanes: 4
precision: bf16
total_images: 2000
log: {{every_images: 200, tensorboard: false}}
snapshot: {{every_images: 2000, rows: 2, columns: 4}}
"""


@pytest.mark.slow
def test_stylegan2_stays_finite_for_500_updates_in_bf16(tmp_path: Path) -> None:
    recipe = tmp_path / "half.yaml"
    recipe.write_text(HALF.format(data=make_set(tmp_path / "set", size=32)))
    launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'run'}")
    rows = reports(tmp_path / "run")
    assert rows[-1]["images"] == 2000 and {"loss/D.r1/r1", "loss/G.path/path"} <= rows[-1].keys()
    assert all(np.isfinite(value) for row in rows for value in row.values())
    picture = np.array(Image.open(tmp_path / "run" / "samples" / "000000002000.png"))
    assert 5 < picture.std() < 125
