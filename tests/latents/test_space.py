"""Where samples of every family and game are moved, and how they are interpolated."""

import pytest
import torch
from small_generators import GENERATORS, generator
from torch import Tensor

from scalegan.checkpoints import exports
from scalegan.latents.interpolation import walk
from scalegan.latents.space import Space


def label_of(space: Space, count: int) -> Tensor | None:
    return torch.ones(count, dtype=torch.long) if space.generator.about["spec"]["classes"] else None


@pytest.mark.parametrize("name", GENERATORS)
def test_a_walk_goes_from_sample_to_sample_along_the_curve_of_its_latents(name: str) -> None:
    space = Space(generator(name))
    labels = label_of(space, 2)
    images = walk(space.generator, [3, 4], 4, None if labels is None else labels[:1])
    ends = exports.sample(space.generator, [3, 4], labels, 1.0)
    torch.testing.assert_close(images[[0, 4]], ends, rtol=0, atol=1e-5)
    assert (images[0] - images[4]).abs().max() > 1e-3 and (images[1:] - images[:-1]).abs().amax((1, 2, 3)).min() > 0
    a, b = space.of_seeds([3, 4], labels)
    middle, straight, kind = space.between(a, b, 0.5), (a + b) / 2, GENERATORS[name][3]
    normal = {"line": 0, "great circle": space.dim}.get(kind, space.gaussian)
    assert normal == space.gaussian and (0 < normal < space.dim) == (kind == "great circle, but for the codes")
    torch.testing.assert_close(middle[normal:], straight[normal:])
    if normal:      # a straight line would lead nearer to the origin
        assert middle[:normal].norm() > 1.05 * straight[:normal].norm()
        assert min(a[:normal].norm(), b[:normal].norm()) < 1.01 * middle[:normal].norm()


def test_a_sample_is_the_same_whatever_else_is_in_the_batch() -> None:
    space = Space(generator("BigGAN"))
    points, labels = space.drawn(40, "test")
    torch.testing.assert_close(space.images(points, labels)[33], space.images(points[33:34], labels[33:34])[0],
                               rtol=0, atol=1e-6)


def test_truncated_latents_can_be_moved_beyond_the_threshold() -> None:
    """Truncating after the move would throw them back."""
    whole, cut = (Space(generator("BigGAN"), psi) for psi in (1.0, 0.5))
    points = cut.of_seeds(range(4))
    assert points.abs().max() <= 0.5 and whole.of_seeds(range(4)).abs().max() > 1
    labels = torch.zeros(4, dtype=torch.long)
    moved = points + 1.0
    torch.testing.assert_close(cut.images(moved, labels), whole.images(moved, labels))
    torch.testing.assert_close(cut.images(points, labels), exports.sample(cut.generator, list(range(4)), labels, 0.5),
                               rtol=0, atol=1e-5)


def test_a_model_without_truncation_says_so() -> None:
    space = Space(generator("DCGAN"), 0.5)
    with pytest.raises(ValueError, match="no truncation"):
        space.images(space.of_seeds([0]))
