"""DiffAugment's policies against NumPy, sample by sample, on the same draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import digest, launch

from scalegan.augment.diffaugment import DiffAugment, color, cutout, translation
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.randomness import Draws

N, SIDE = 40, 16
DRAWS = Draws(5, 0, "test", torch.arange(N))
IMAGES = Draws(1, 0, "images", torch.arange(N)).uniform("x", 3, SIDE, SIDE) * 2 - 1


def test_color_is_brightness_saturation_contrast() -> None:
    for x, found, (b, s, c) in zip(IMAGES.double().numpy(), color(IMAGES, DRAWS).numpy(),
                                   DRAWS.uniform("color", 3).double().numpy()):
        x = x + b - 0.5
        x = x.mean(0) * (1 - 2 * s) + x * 2 * s
        x = x.mean() * (1 - (c + 0.5)) + x * (c + 0.5)
        np.testing.assert_allclose(found, x, atol=1e-5)


def test_translation_is_a_roll_with_zeros() -> None:
    dx, dy = (DRAWS.integers(f"shift/{axis}", 5) - 2 for axis in "xy")
    assert set(dx.tolist()) == set(dy.tolist()) == {-2, -1, 0, 1, 2}
    for x, found, right, down in zip(IMAGES.numpy(), translation(IMAGES, DRAWS).numpy(), dx.tolist(), dy.tolist()):
        padded = np.pad(x, ((0, 0), (2, 2), (2, 2)))
        assert np.array_equal(found, padded[:, 2 - down : 18 - down, 2 - right : 18 - right])


def test_cutout_takes_a_square_around_any_pixel() -> None:
    sizes = set()
    for x, found, place in zip(IMAGES.numpy(), cutout(IMAGES, DRAWS).numpy(),
                               torch.stack([DRAWS.uniform("hole/y"), DRAWS.uniform("hole/x")], 1).tolist()):
        first = [int(p * (SIDE + 1)) - SIDE // 4 for p in place]
        expected = x.copy()
        expected[:, max(first[0], 0) : first[0] + 8, max(first[1], 0) : first[1] + 8] = 0
        assert np.array_equal(found, expected)
        sizes.add(int((found[0] == 0).sum()))
    assert max(sizes) == 64 and min(sizes) < 48


def test_policies_are_chosen() -> None:
    assert DiffAugment(())(IMAGES, DRAWS, 0).equal(IMAGES)
    assert DiffAugment(("cutout",))(IMAGES, DRAWS, 0).equal(cutout(IMAGES, DRAWS))
    everything = cutout(translation(color(IMAGES, DRAWS), DRAWS), DRAWS)
    assert DiffAugment()(IMAGES, DRAWS, 0).equal(everything)


@pytest.mark.parametrize("change", [color, translation, cutout], ids=lambda change: change.__name__)
def test_gradients_reach_the_image_once_and_twice(change) -> None:
    x, draws = IMAGES[:1, :, :6, :6].double().requires_grad_(), Draws(5, 0, "test", torch.tensor([4]))
    assert torch.autograd.gradcheck(lambda x: change(x, draws), x)
    assert torch.autograd.gradgradcheck(lambda x: change(x, draws).pow(3).sum(), x)


@pytest.mark.slow
def test_ranks_and_a_resume_change_no_bit(tiny_recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={tiny_recipe}", "augment.name=diffaugment", "total_images=384"]
    for ranks, run in ((1, "one"), (2, "two")):
        launch(ranks, *common, f"run_dir={tmp_path / run}")
    launch(2, *common, f"run_dir={tmp_path / 'resumed'}", "total_images=192")
    launch(1, *common, f"run_dir={tmp_path / 'resumed'}")
    assert digest(tmp_path / "one") == digest(tmp_path / "two") == digest(tmp_path / "resumed")
    launch(1, *common, f"run_dir={tmp_path / 'plain'}", "augment.name=none")
    assert digest(tmp_path / "one") != digest(tmp_path / "plain")


def test_every_phase_sees_augmented_images_and_penalties_the_images_before() -> None:
    """D gets augmented reals and fakes in every phase, and R1's gradient reaches the reals."""
    from scalegan.augment import Augment
    from scalegan.games.base import Batch
    from scalegan.games.gan.game import GAN
    from scalegan.losses import LOSSES
    from scalegan.models import dcgan

    class Halved(Augment):
        def forward(self, images, draws, seen):
            assert seen == 700 and draws.purpose in ("D/augment/real", "D/augment/fake")
            return images / 2

    generator, discriminator = dcgan.Generator(16, width=4, latent_dim=8), dcgan.Discriminator(16, width=4)
    x = IMAGES[:16]
    batch = Batch.of(x, Draws(3, 0, "D", torch.arange(16)), images=700)
    found = {}
    for name, augment in (("plain", None), ("halved", Halved())):
        game = GAN(generator, discriminator, LOSSES["non_saturating"], {"r1": R1R2Penalty("real", 2.0, 4)}, augment)
        found[name] = {p.name: p.loss(batch) for p in game.phases}
    assert found["halved"].keys() == {"D", "D.r1", "G"}
    half = discriminator(x / 2, None)
    assert found["halved"]["D"]["real"].item() == pytest.approx(LOSSES["non_saturating"].discriminator(
        half, half)["real"].item())
    for phase in ("D", "D.r1", "G"):
        assert all(found["halved"][phase][term] != found["plain"][phase][term] for term in found["plain"][phase])
    inputs = x.clone().requires_grad_()
    slope, = torch.autograd.grad(discriminator(inputs / 2, None).sum(), inputs)
    expected = 4 * slope.square().sum((1, 2, 3)).mean()
    assert found["halved"]["D.r1"]["r1"].item() == pytest.approx(expected.item(), rel=1e-4)
