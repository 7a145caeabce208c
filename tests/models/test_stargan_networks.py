"""StarGAN's networks: the published sizes, images of any size, and what the labels do."""

import pytest
import torch
from torch import nn

from scalegan.models import stargan

# Parameters of yunjey/stargan at 128 px and 256 px, by channels and labels; at 64 px with five layers.
SIZES = [
    (stargan.Generator, {"labels": 5}, 8_430_528), (stargan.Generator, {"labels": 6}, 8_433_664),
    (stargan.Generator, {"labels": 8}, 8_439_936), (stargan.Generator, {"labels": 15}, 8_461_888),
    (stargan.Generator, {"channels": 1, "labels": 6}, 8_421_120),
    (stargan.Discriminator, {"labels": 5}, 44_762_048), (stargan.Discriminator, {"labels": 6}, 44_770_240),
    (stargan.Discriminator, {"labels": 8}, 44_786_624), (stargan.Discriminator, {"labels": 13}, 44_827_584),
    (stargan.Discriminator, {"channels": 1, "labels": 6}, 44_768_192),
    (stargan.Discriminator, {"resolution": 256}, 44_884_928),
    (stargan.Discriminator, {"resolution": 64, "labels": 6}, 11_179_968),
]


@pytest.mark.parametrize("kind, keys, count", SIZES)
def test_golden_parameter_counts(kind: type[nn.Module], keys: dict, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in kind(**keys).parameters()) == count


def test_images_of_any_size_have_answers_of_that_size() -> None:
    generator = stargan.Generator(labels=2, width=2, blocks=1)
    for height, width in ((16, 16), (17, 30), (5, 9)):
        answer = generator(torch.randn(2, 3, height, width), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
        assert answer.shape == (2, 3, height, width) and answer.abs().max() <= 1


def test_every_label_changes_the_image_and_strengths_lie_between() -> None:
    """Padding with zeros is what lets a constant plane through instance norm."""
    generator, image = stargan.Generator(labels=3, width=4, blocks=1), torch.randn(1, 3, 16, 16)
    answers = [generator(image, labels[None]) for labels in torch.cat([torch.zeros(1, 3), torch.eye(3),
                                                                      torch.tensor([[0.5, 0, 0]])])]
    for one in range(5):
        for other in range(one):
            assert (answers[one] - answers[other]).abs().max() > 1e-3
    assert torch.equal(generator(image, torch.tensor([1])), answers[2])     # a class is its one-hot vector


@pytest.mark.parametrize("resolution, layers, side", [(128, None, 2), (64, None, 2), (256, None, 4), (48, 3, 6),
                                                      (16, 4, 1)])
def test_a_discriminator_has_a_map_of_critics_and_a_logit_per_label(resolution: int, layers: int, side: int) -> None:
    source, labels = stargan.Discriminator(resolution, labels=3, width=1, layers=layers)(
        torch.zeros(2, 3, resolution, resolution))
    assert source.shape == (2, 1, side, side) and labels.shape == (2, 3)


def test_a_discriminator_refuses_a_resolution_that_it_cannot_halve() -> None:
    with pytest.raises(ValueError, match="not a multiple of 32"):
        stargan.Discriminator(100)
