"""Noise of several levels: how much, nested, keyed, and over levels that were augmented alike."""

import pytest
import torch

from scalegan.augment import Augment
from scalegan.augment.diffaugment import DiffAugment
from scalegan.augment.levels import NoisyLevels, noise_shares
from scalegan.randomness import Draws

DRAWS = Draws(0, 0, "D", torch.arange(64))


def test_four_levels_have_the_published_shares_of_noise() -> None:
    assert noise_shares(4) == pytest.approx([0.885, 0.76, 0.51, 0.01])


def test_noises_are_nested_and_of_the_level_s_deviation() -> None:
    zeros = torch.zeros(64, 1, 16, 16)
    noise = NoisyLevels(Augment(), 4)(zeros, DRAWS, 0).double()             # [64, 4, 16, 16]
    shares = noise_shares(4)
    assert noise.std((0, 2, 3)).tolist() == pytest.approx(shares, rel=0.03)
    for coarse, fine in ((0, 1), (1, 2), (2, 3), (0, 3)):
        decay = (1 - shares[coarse]) / (1 - shares[fine])
        fresh = noise[:, coarse] - decay * noise[:, fine]                     # holds nothing of the finer level's noise
        assert abs((fresh * noise[:, fine]).mean()) < 0.02 * shares[fine]


def test_what_remains_of_every_level_is_its_own_output_augmented_as_the_others() -> None:
    augment, outputs = DiffAugment(), torch.randn(64, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = NoisyLevels(augment, 2)(outputs, DRAWS, 0)
    noise = NoisyLevels(Augment(), 2)(torch.zeros(64, 3, 8, 8), DRAWS, 0)
    for level, share in enumerate(noise_shares(2)):
        own = slice(3 * level, 3 * level + 3)
        alone = augment(outputs[:, level], DRAWS, 0)
        assert torch.allclose(seen[:, own], (1 - share) * alone + noise[:, own], atol=1e-5)


def test_a_real_image_has_the_same_copies_and_a_part_of_the_batch_the_same_bits() -> None:
    augment, images = NoisyLevels(DiffAugment(), 3), torch.ones(64, 3, 8, 8)
    whole = augment(images, DRAWS, 0)
    assert torch.equal(augment(images[8:16], DRAWS[8:16], 0), whole[8:16])
    assert torch.equal(whole, augment(images[:, None].expand(-1, 3, -1, -1, -1), DRAWS, 0))
