"""CoGAN: what its domains share, its updates, sizes and whole runs, against the paper and its code."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import launch, make_set
from small_games import Witness, batch_for, coupled
from torch import Tensor, nn

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import sample
from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.data import derived
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UsageError
from scalegan.games.base import Batch, Sample
from scalegan.games.cogan.game import CoGAN
from scalegan.games.cogan.networks import Generator
from scalegan.games.gan.game import GAN
from scalegan.losses import LOSSES
from scalegan.randomness import Draws
from scalegan.training import build

SAMPLES = 8


def small(name: str = "CoGAN") -> tuple[CoGAN, Callable[[str], Batch]]:
    game, specs = coupled(name)
    build.initialise(game, 3)
    return game, lambda phase: batch_for(specs, Draws(3, 0, phase, torch.arange(SAMPLES)))


# --- one update, as in the paper ------------------------------------------------------------------------------------

def cross_entropy(outputs: Tensor, classes: Tensor | int) -> Tensor:
    chances = outputs.exp() / outputs.exp().sum(1, keepdim=True)
    return -torch.log(chances[torch.arange(len(outputs)), classes]).mean()


def published(game: CoGAN, phase: str, batch: Batch) -> dict[str, Tensor]:
    """Eq. 5, with softmaxes of real (1) and fake (0) as in the published code, whose mean over both domains halves it
    where the run adapts."""
    half, shared = 0.5 if game.class_weight else 1.0, game.D_shared
    z = batch.draws.normal("z", game.G_shared.latent_dim)
    fakes = [2 * torch.sigmoid(head.out(game.G_shared(z))) - 1 for head in (game.G1, game.G2)]
    if phase == "D":
        fakes = [fake.detach() for fake in fakes]

    def features(stem: nn.Module, images: Tensor) -> Tensor:
        return shared.convs(nn.MaxPool2d(2)(stem.conv(images / 2 + 0.5)))

    terms, of_fakes = {}, [features(stem, fake) for stem, fake in zip((game.D1, game.D2), fakes)]
    for domain, of_fake in enumerate(of_fakes, 1):
        terms[f"fake{domain}"] = half * cross_entropy(shared.out(of_fake), 0 if phase == "D" else 1)
    if phase == "G":
        return terms
    second = batch.streams["second"].data
    of_reals = [features(game.D1, batch.reals), features(game.D2, -second if game.derive else second)]
    for domain, of_real in enumerate(of_reals, 1):
        terms[f"real{domain}"] = half * cross_entropy(shared.out(of_real), 1)
    if game.class_weight:
        terms["classes"] = 10 * cross_entropy(shared.classes(of_reals[0]), batch.labels)
        terms["features"] = 0.01 * ((of_fakes[0] - of_fakes[1]) ** 2).sum() / SAMPLES
    return terms


@pytest.mark.parametrize("name", ["CoGAN", "CoGAN that adapts"])
@pytest.mark.parametrize("phase", ["D", "G"])
def test_an_update_is_the_published_formulas(name: str, phase: str) -> None:
    game, batches = small(name)
    batch = batches(phase)
    original = copy.deepcopy(game)
    terms = published(original, phase, batch)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    engine = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES)
    figures = engine.update(next(p for p in game.phases if p.name == phase), batch)
    for term, value in terms.items():
        assert figures[term].item() == pytest.approx(value.item(), rel=1e-5), term
    assert {player for player, witness in witnesses.items() if hasattr(witness, "found")} == {
        player for player in game.players if player[0] == phase}
    for player in (player for player in game.players if player[0] == phase):
        weights = dict(original.players[player].named_parameters())
        expected = torch.autograd.grad(sum(terms.values()), list(weights.values()), retain_graph=True)
        whole = torch.stack([one.norm() for one in expected]).norm()
        for weight, found, one in zip(weights, witnesses[player].found, expected, strict=True):
            assert (found - one).norm() <= 1e-4 * one.norm() + 1e-6 * whole, f"{player}.{weight}"


# --- what the domains share -----------------------------------------------------------------------------------------

class Alone(nn.Module):
    """One domain's discriminator as a network of its own."""

    def __init__(self, stem: nn.Module, shared: nn.Module) -> None:
        super().__init__()
        self.stem, self.shared = stem, shared

    def forward(self, images: Tensor, labels: None = None) -> Tensor:
        return self.shared(self.stem(images))[1]


@pytest.mark.parametrize("phase", ["D", "G"])
def test_a_shared_layers_gradient_is_the_sum_of_two_separate_gans(phase: str) -> None:
    game, batches = small()
    batch = batches(phase)
    loss = {"D": "discriminator_loss", "G": "generator_loss"}[phase]
    shared = list(game.players[f"{phase}_shared"].parameters())
    together = torch.autograd.grad(sum(getattr(game, loss)(batch).values()), shared)
    separate = []
    for images, head, stem in zip(game.reals(batch), (game.G1, game.G2), (game.D1, game.D2)):
        alone = GAN(Generator(game.G_shared, head), Alone(stem, game.D_shared), LOSSES["non_saturating"])
        terms = getattr(alone, loss)(Batch.of(images, batch.draws))
        separate.append(torch.autograd.grad(sum(terms.values()), shared))
    whole = torch.stack([one.norm() for one in together]).norm()
    for found, first, second in zip(together, *separate):
        assert (found - first - second).norm() <= 1e-4 * found.norm() + 1e-6 * whole
    assert all(sum(one.norm() for one in own) > 0.01 * whole for own in separate)


def test_equal_logits_give_equal_losses() -> None:
    """Two domains with the same images and weights."""
    game, batches = small()
    game.derive = None
    game.G2.load_state_dict(game.G1.state_dict())
    game.D2.load_state_dict(game.D1.state_dict())
    batch = batches("D")
    same = Batch({"first": batch.streams["first"], "second": Sample(batch.reals)}, batch.draws)
    found = game.discriminator_loss(same) | {f"G {name}": term for name, term in game.generator_loss(same).items()}
    for name in ("real1", "fake1", "G fake1"):
        assert found[name] == found[f"{name[:-1]}2"]


def test_a_d_that_cannot_tell() -> None:
    game, batches = small()
    for parameter in game.D_shared.out.parameters():
        nn.init.zeros_(parameter)
    for terms, count in ((game.discriminator_loss(batches("D")), 4), (game.generator_loss(batches("G")), 2)):
        assert [term.item() for term in terms.values()] == pytest.approx([math.log(2)] * count)


# --- networks and derived images ------------------------------------------------------------------------------------

def test_the_networks_have_the_published_sizes() -> None:
    recipe = loading.load(["recipe=cogan_mnist", "game.width=1024"])
    with torch.device("meta"):
        game = build.game(recipe, dict.fromkeys(("first", "second"), Spec("image", (1, 28, 28))))
    sizes = {name: sum(p.numel() for p in player.parameters()) for name, player in game.players.items()}
    assert sizes == {"G_shared": 7_833_472 + 4, "G1": 4_609, "G2": 4_609, "D_shared": 426_552 + 1, "D1": 520, "D2": 520}
    assert game.G1(game.G_shared(torch.zeros(2, 100, device="meta"))).shape == (2, 1, 28, 28)


def test_edges_are_around_what_is_bright() -> None:
    image = torch.full((1, 1, 7, 7), -1.0)
    image[..., 2:5, 2:5] = 1
    around = torch.full((1, 1, 7, 7), -1.0)
    around[..., 1:6, 1:6] = 1
    around[..., 2:5, 2:5] = -1
    assert torch.equal(derived.outline(image), around) and torch.equal(derived.negative(image), -image)


# --- a run ----------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_a_run_that_adapts_has_a_generator_and_a_classifier_for_each_domain(tmp_path: Path) -> None:
    data, recipe, run = make_set(tmp_path / "set", size=28), tmp_path / "tiny.yaml", tmp_path / "run"
    read = f'path: "{data}", resolution: 28, workers: 0, block_records: 8, window_blocks: 4'
    recipe.write_text(f"""# CoGAN in small
data: {{{read}, labels: class}}
streams: {{second: {{{read}}}}}
game: {{name: cogan, width: 8, norm_group: 4, adaptation: true}}
batch_size: 16
lanes: 4
total_images: 64
snapshot: {{every_images: 64, rows: 2, columns: 2}}
""")
    launch(1, f"recipe={recipe}", f"run_dir={run}")
    z, images = torch.randn(3, 100), torch.rand(3, 3, 28, 28) * 2 - 1
    networks = exports.load_all(run)
    exports.save(networks, tmp_path / "cogan.safetensors")
    assert torch.equal(scalegan.load(tmp_path / "cogan.safetensors")(z), networks["G1"](z))
    assert not torch.equal(networks["G1"](z), networks["G2"](z))
    logits = [networks[name](images) for name in ("C1", "C2")]
    assert all(one.shape == (3, 4) for one in logits) and not torch.equal(*logits)
    sample.main([str(run), "--seeds", "0-1", "--out", str(tmp_path / "samples")])     # the data's classes are not G's
    with pytest.raises(UsageError, match="is unconditional"):
        sample.main([str(run), "--classes", "a"])


PLAIN = {"path": "-", "resolution": 28}


@pytest.mark.parametrize("keys, said", [
    ({"streams": {}}, "streams.second.path is not given"),
    ({"data": {"path": "-", "resolution": 32}}, "data.resolution=32: game.name=cogan supports 28"),
    ({"streams": {"second": {"path": "-", "resolution": 32}}}, "streams.second.resolution=32"),
    ({"streams": {"second": {**PLAIN, "labels": "class"}}}, "set streams.second.labels=none"),
    ({"data": {**PLAIN, "labels": "class"}}, "or game.adaptation=true"),
    ({"game": {"name": "cogan", "adaptation": True}}, "set data.labels=class"),
    ({"game": {"name": "cogan", "class_weight": 1}}, "apply only to game.adaptation=true"),
    ({"game": {"name": "cogan", "norm_group": 12}, "micro_batch_size": 16}, "game.norm_group=12 does not divide"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"model": {"name": "mlp"}}, "leave out model"),
    ({"optimizer": {"G": {"lr": 1e-3}}}, "players G_shared, G1, G2, D_shared, D1 and D2"),
], ids=lambda given: given if isinstance(given, str) else "")
def test_what_does_not_fit_is_said_in_a_line(keys: dict, said: str) -> None:
    recipe = {"run_dir": "-", "total_images": 1, "data": PLAIN, "streams": {"second": PLAIN}, "game": {"name": "cogan"}}
    with pytest.raises(RecipeError, match=said) as raised:
        check_world(loading.parse({**recipe, **keys}, "test"), 1)
    assert len(str(raised.value).splitlines()) == 1


def test_domains_of_other_colours_cannot_be_made_from_each_other() -> None:
    recipe = loading.load(["recipe=cogan_mnist"])
    with pytest.raises(RecipeError, match="the same resolution and colours"):
        build.game(recipe, {"first": Spec("image", (1, 28, 28)), "second": Spec("image", (3, 28, 28))})
