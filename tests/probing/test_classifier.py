"""The plain CNN that other features are compared with."""

import pytest
import torch
from torch import Tensor

from scalegan.probing import classifier
from scalegan.probing.classifier import fit_cnn, size_of


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_SHOWN", 64 * 30)


def halves(count: int) -> tuple[Tensor, Tensor]:
    """Noise with a bright left or upper half, uint8 [count, 1, 16, 16], and which of them are bright, [count, 2]."""
    generator = torch.Generator().manual_seed(count)
    bright = torch.randint(2, (count, 2), generator=generator)
    images = torch.randint(100, (count, 1, 16, 16), generator=generator)
    images[:, :, :, :8] += 80 * bright[:, 0, None, None, None]
    images[:, :, :8] += 70 * bright[:, 1, None, None, None]
    return images.to(torch.uint8), bright


@pytest.mark.slow
def test_it_learns_classes_and_attributes_and_two_trainings_give_the_same_bits() -> None:
    (images, attributes), (unseen, truth) = halves(300), halves(100)
    classes = attributes @ torch.tensor([2, 1])
    of_classes, again, other = (fit_cnn(images, classes, parameters=20_000, seed=seed).logits(unseen)
                                for seed in (0, 0, 1))
    assert torch.equal(of_classes, again)
    assert not torch.equal(of_classes, other)
    assert (of_classes.argmax(1) == truth @ torch.tensor([2, 1])).float().mean() > 0.95
    of_attributes = fit_cnn(images, attributes, parameters=20_000)
    assert ((of_attributes.logits(unseen) > 0).long() == truth).float().mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 5, 9), (1, 40, 20)], ids=str)
@pytest.mark.parametrize("parameters", [20_000, 400_000])
def test_its_size_comes_close_to_what_is_asked_whatever_the_images(shape: tuple[int, int, int],
                                                                     parameters: int) -> None:
    network = classifier._network(shape, 10, parameters)
    assert network(torch.zeros(2, *shape)).shape == (2, 10)
    if min(shape[1:]) >= 8:
        assert 0.5 * parameters < size_of(network) <= parameters
