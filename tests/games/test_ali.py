"""ALI: its networks and update, against the paper's table and formulas rather than the code."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from harness import launch
from small_games import ali
from test_bigan import batch_of, count, engine_of
from torch import Tensor

import scalegan
from scalegan.checkpoints import exports
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.ali.networks import Discriminator
from scalegan.games.base import Batch
from scalegan.randomness import Draws
from scalegan.training import build

GROUP, WIDTH, CODE = 4, 2, 3
Weights = Mapping[str, Tensor]


# --- one update, written out from the paper's table ------------------------------------------------------------------

def normalised(h: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    groups = h.unflatten(0, (-1, GROUP))
    mean, var = groups.mean((1, 3, 4), keepdim=True), groups.var((1, 3, 4), unbiased=False, keepdim=True)
    h = ((groups - mean) / (var + 1e-5).sqrt()).flatten(0, 1) * gain.view(-1, 1, 1) + bias.view(-1, 1, 1)
    return torch.where(h > 0, h, 0.1 * h)


def encode(w: Weights, x: Tensor, noise: Tensor) -> Tensor:
    for number, stride in enumerate((1, 2, 1, 2, 1, 1)):
        conv, norm = f"E.layers.{3 * number}", f"E.layers.{3 * number + 1}"
        x = normalised(F.conv2d(x, w[f"{conv}.weight"], stride=stride), w[f"{norm}.weight"], w[f"{norm}.bias"])
    predicted = x.flatten(1) @ w["E.out.weight"].T + w["E.out.bias"]
    return predicted[:, :CODE] + predicted[:, CODE:].exp() * noise


def generate(w: Weights, z: Tensor) -> Tensor:
    x = z[:, :, None, None]
    for number, stride in enumerate((1, 2, 1, 2, 1)):
        conv, norm = f"G.layers.{3 * number}", f"G.layers.{3 * number + 1}"
        x = normalised(F.conv_transpose2d(x, w[f"{conv}.weight"], stride=stride), w[f"{norm}.weight"],
                       w[f"{norm}.bias"])
    x = normalised(F.conv2d(x, w["G.layers.15.weight"]), w["G.layers.16.weight"], w["G.layers.16.bias"])
    return F.conv2d(x, w["G.out.weight"], w["G.out.bias"]).sigmoid()


def probability(w: Weights, x: Tensor, z: Tensor, draws: Draws) -> Tensor:
    """D with dropout: 0.2 on the image and the code, 0.5 everywhere else."""
    names = [f"of_image.{i}" for i in range(5)] + ["of_code.0", "of_code.1", "of_both.0", "of_both.1"]

    def dropped(h: Tensor, number: int) -> Tensor:
        p = 0.2 if number in (0, 5) else 0.5
        return h * (draws.uniform(f"layer{number}", *h.shape[1:]) >= p) / (1 - p)

    def maxout(h: Tensor, number: int, stride: int = 1) -> Tensor:
        name = f"D.{names[number]}.conv"
        h = F.conv2d(dropped(h, number), w[f"{name}.weight"], w[f"{name}.bias"], stride)
        return h.unflatten(1, (2, -1)).amax(1)

    h, code = x, z[:, :, None, None]
    for number, stride in enumerate((1, 2, 1, 2, 1)):
        h = maxout(h, number, stride)
    h = torch.cat([h, maxout(maxout(code, 5), 6)], 1)
    h = dropped(maxout(maxout(h, 7), 8).flatten(1), 9)
    return (h @ w["D.out.weight"].T + w["D.out.bias"]).sigmoid()


def test_an_update_is_the_published_one() -> None:
    game, batch = ali(), batch_of((3, 32, 32), 8)
    engine = engine_of(game, micro_batch=GROUP)
    w = {name: p.detach().clone().requires_grad_() for name, p in game.named_parameters()}
    x, z = (batch.reals + 1) / 2, batch.draws.normal("z", CODE)
    encoded = probability(w, x, encode(w, x, batch.draws.normal("encoder", CODE)), batch.draws.of("dropout/real"))
    made = probability(w, generate(w, z), z, batch.draws.of("dropout/fake"))
    terms = {"D": {"real": -encoded.log().mean(), "fake": -(1 - made).log().mean()},
             "EG": {"encoder": -(1 - encoded).log().mean(), "generator": -made.log().mean()}}
    for phase in game.phases:
        gradients = engine.gradients(phase, batch)
        expected = torch.autograd.grad(sum(terms[phase.name].values()), [w[name] for name in gradients],
                                       retain_graph=True)
        pending = engine.differentiate(phase, batch)
        for name, term in terms[phase.name].items():
            torch.testing.assert_close(pending.means["term", name], term.detach(), rtol=1e-5, atol=1e-6)
        whole = torch.stack([g.norm() for g in expected]).norm()
        for (name, found), one in zip(gradients.items(), expected, strict=True):
            assert (found - one).norm() <= 1e-4 * one.norm() + 1e-6 * whole, name
        assert all(g.abs().sum() > 0 for g in expected)


# --- networks -------------------------------------------------------------------------------------------------------

def published(*keys: str) -> torch.nn.Module:
    recipe = loading.load(["recipe=ali_cifar10", "data.path=none", *keys])
    with torch.device("meta"):
        return build.game(recipe, {"real": Spec("image", (3, 32, 32))})


def test_the_networks_have_the_published_sizes() -> None:
    game = published()
    assert (count(game.E), count(game.G)) == (3_118_496, 978_083)


@pytest.mark.parametrize("halve, image, joint", [(False, 512, 1024), (True, 256, 512)], ids=["as printed", "as coded"])
def test_maxout_leaves_the_channels_that_the_paper_prints_or_the_codes_half(halve: bool, image: int,
                                                                           joint: int) -> None:
    d = published(f"game.halve_channels={str(halve).lower()}").D
    assert d.of_image[-1].output == (image, 1, 1) and d.of_both[0].shape == (joint, 1, 1)
    assert [layer.output[1] for layer in d.of_image] == [28, 13, 10, 4, 1]


def test_dropout_keeps_the_mean_and_is_a_samples_own() -> None:
    d, draws = Discriminator(3, WIDTH, CODE), Draws(0, 0, "D", torch.arange(64))
    masks = d.masks(draws)
    for mask, p in zip(masks, [0.2, *[0.5] * 4, 0.2, *[0.5] * 4], strict=True):
        assert bool(((mask == 0) | (mask == torch.tensor(1 / (1 - p)))).all())
        assert float(mask.mean()) == pytest.approx(1, abs=8 * math.sqrt(p / (1 - p) / mask.numel()))
    assert all(torch.equal(part, mask[16:32]) for part, mask in zip(d.masks(draws[16:32]), masks))
    x, z = torch.rand(64, 3, 32, 32), torch.randn(64, CODE)
    assert not torch.equal(d(x, z, masks), d(x, z)) and torch.equal(d(x, z), d(x, z))


def test_both_phases_see_the_same_dropout() -> None:
    """The source takes all gradients from one forward pass."""
    game, batch = ali(), batch_of((3, 32, 32), 8)
    d, eg = game.discriminator_loss(batch), game.encoder_generator_loss(batch)
    other = game.discriminator_loss(Batch.of(batch.reals, Draws(3, 0, "EG", torch.arange(8))))
    logit = batch.figures["real_logit"] - batch.figures["fake_logit"]
    difference = (eg["encoder"] - d["real"]) + (d["fake"] - eg["generator"])    # softplus(t) - softplus(-t) = t
    torch.testing.assert_close(difference, logit + 2 * batch.figures["fake_logit"], rtol=1e-4, atol=1e-5)
    assert other["real"] != d["real"]


# --- a run ----------------------------------------------------------------------------------------------------------

def test_a_run_on_points_uses_the_dense_networks(tmp_path: Path) -> None:
    recipe = tmp_path / "points.yaml"
    recipe.write_text("""# ALI on a ring
data: {backend: points, path: ring8, workers: 0, flip: false}
game: {name: ali, networks: dense, hidden: 16, latent_dim: 3, norm_group: 16}
batch_size: 32
lanes: 2
total_images: 64
snapshot: {every_images: 64}
""")
    launch(1, f"recipe={recipe}", f"run_dir={tmp_path / 'run'}")
    x = torch.randn(5, 2)
    code = scalegan.load(tmp_path / "run", "encode")(x)
    assert code.shape == (5, 3) and scalegan.load(tmp_path / "run", "reconstruct")(x).shape == (5, 2)
    assert exports.load_generator(tmp_path / "run")(code).shape == (5, 2)


@pytest.mark.parametrize("keys, said", [
    ({"data": {"path": "-", "resolution": 28}}, "networks=convolutional supports 32"),
    ({"data": {"path": "ring8", "backend": "points"}}, "set game.networks=dense"),
    ({"model": {"name": "mlp"}}, "leave out model"),
    ({"game": {"name": "ali", "networks": "deep"}}, "game.networks"),
])
def test_what_does_not_fit_is_said_in_a_line(keys: dict, said: str) -> None:
    recipe = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 32}, "game": {"name": "ali"}}
    with pytest.raises(RecipeError, match=said) as raised:
        loading.parse({**recipe, **keys}, "test")
    assert len(str(raised.value).splitlines()) == 1
