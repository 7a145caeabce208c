"""BiGAN: its update, closed forms, sizes and networks, each against the paper rather than the code."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from harness import launch
from PIL import Image
from small_games import bigan
from torch import Tensor, nn

import scalegan
from scalegan import config
from scalegan.checkpoints import exports
from scalegan.config import loading
from scalegan.config.ranks import check_world
from scalegan.data.spec import Spec
from scalegan.engines import optimizers
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.games.base import Batch
from scalegan.games.bigan.game import BiGAN
from scalegan.games.bigan.networks import Encoder
from scalegan.games.sampling import latents
from scalegan.randomness import Draws
from scalegan.training import build

RECIPE = {"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16}, "batch_size": 32}
SAMPLES, MICRO_BATCH, GROUP = 32, 16, 8
Weights = Mapping[str, Tensor]


def batch_of(shape: tuple[int, ...] = (1, 4, 4), count: int = SAMPLES) -> Batch:
    draws = Draws(3, 0, "D", torch.arange(count))
    return Batch.of(draws.uniform("real", *shape) * 2 - 1, draws)


def engine_of(game: BiGAN, micro_batch: int = MICRO_BATCH) -> DDPEngine:
    player_optimizers = {name: torch.optim.SGD(player.parameters(), lr=0.1) for name, player in game.players.items()}
    return DDPEngine(game, player_optimizers, Ranks(0, 1, torch.device("cpu")), micro_batch)


# --- one update, written out from the paper -------------------------------------------------------------------------

def normalised(h: Tensor) -> Tensor:
    """Batch normalisation without gain and bias, over groups of samples."""
    groups = h.unflatten(0, (-1, GROUP))
    deviation = (groups.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return ((groups - groups.mean(1, keepdim=True)) / deviation).flatten(0, 1)


def leaky(h: Tensor) -> Tensor:
    return torch.where(h > 0, h, 0.2 * h)


def generate(w: Weights, z: Tensor) -> Tensor:
    h = normalised(z @ w["G.first.weight"].T).clamp(min=0)
    h = normalised(h @ w["G.second.weight"].T + z @ w["G.skip.weight"].T).clamp(min=0)
    return 1 / (1 + (-h @ w["G.out.weight"].T).exp())                   # pixels in [0, 1]


def encode(w: Weights, x: Tensor) -> Tensor:
    h = leaky(normalised(leaky(x @ w["E.first.weight"].T) @ w["E.second.weight"].T))
    return 2 / (1 + (-h @ w["E.out.weight"].T).exp()) - 1


def probability(w: Weights, x: Tensor, z: Tensor) -> Tensor:
    h = normalised(leaky(x @ w["D.first.weight"].T) @ w["D.second.weight"].T + z @ w["D.code.weight"].T)
    return 1 / (1 + (-leaky(h) @ w["D.out.weight"].T).exp())


def published(w: Weights, batch: Batch, half: float, cycle: float = 0.0,
              norm: int = 2) -> dict[str, dict[str, Tensor]]:
    """Both players' terms; D's from eq. 3 and those of E and G from section 3.3, and ALICE's explicit cycle."""
    x, z = (batch.reals.flatten(1) + 1) / 2, batch.draws.uniform("z", 5) * 2 - 1
    encoded, made = probability(w, x, encode(w, x)), probability(w, generate(w, z), z)
    eg = {"encoder": -half * (1 - encoded).log().mean(), "generator": -half * made.log().mean()}
    if cycle:
        again = generate(w, encode(w, x))
        eg["cycle"] = cycle * (2 * again - 2 * x).abs().pow(norm).mean()        # pixels in [-1, 1]
    return {"D": {"real": -half * encoded.log().mean(), "fake": -half * (1 - made).log().mean()}, "EG": eg}


@pytest.mark.parametrize("half, cycle, norm", [(False, 0, 2), (True, 0, 2), (False, 0.7, 2), (True, 0.7, 1)], ids=[
    "the paper's sum", "the published code's half", "ALICE", "ALICE with the published code's l1"])
def test_an_update_is_the_published_one(half: bool, cycle: float, norm: int) -> None:
    game = bigan(encoder="deterministic", half_loss=half, cycle=cycle, cycle_distance=f"l{norm}" if cycle else "l2")
    engine, batch = engine_of(game), batch_of()
    w = {name: p.detach().clone().requires_grad_() for name, p in game.named_parameters()}
    terms = published(w, batch, 0.5 if half else 1.0, cycle, norm)
    gradients = {}
    for phase, players in (("D", "D"), ("EG", "EG")):
        movers = [name for name in w if name[0] in players]
        gradients |= dict(zip(movers, torch.autograd.grad(sum(terms[phase].values()), [w[n] for n in movers],
                                                          retain_graph=True)))
    pending = [engine.differentiate(phase, batch) for phase in game.phases]
    for phase, one in zip(game.phases, pending):
        found = engine.step(one)
        for name, term in terms[phase.name].items():
            torch.testing.assert_close(found[name], term.detach(), rtol=1e-5, atol=1e-6)
    for name, parameter in game.named_parameters():     # SGD: the step is the gradient, for all at the old weights
        step = (w[name].detach() - parameter.detach()) / 0.1
        torch.testing.assert_close(step, gradients[name], rtol=1e-4, atol=1e-4 * float(gradients[name].abs().max()))


def test_d_and_its_opponents_step_together() -> None:
    d, eg = bigan().phases
    assert d.step_with == eg.name and eg.draws == d.name and not eg.fresh_batch
    assert (d.players, set(eg.players)) == (("D",), {"E", "G"})


def test_each_player_learns_from_its_own_term_alone() -> None:
    game, batch = bigan(), batch_of()
    terms = game.encoder_generator_loss(batch)
    for term, learner, other in (("encoder", game.E, game.G), ("generator", game.G, game.E)):
        own, none = (torch.autograd.grad(terms[term], list(p.parameters()), retain_graph=True, allow_unused=True)
                     for p in (learner, other))
        assert all(g is not None and g.abs().sum() > 0 for g in own) and not any(g is not None for g in none)
    of_d = sum(game.discriminator_loss(batch).values())
    unused = torch.autograd.grad(of_d, [*game.E.parameters(), *game.G.parameters()], allow_unused=True)
    assert not any(g is not None for g in unused)


# --- closed forms ---------------------------------------------------------------------------------------------------

class Map(nn.Module):
    """A fixed map between K values, as one-hot vectors."""

    latent_dim = 3

    def __init__(self, to: tuple[int, ...], frequencies: tuple[int, ...] = (1, 1, 1)) -> None:
        super().__init__()
        self.matrix = torch.eye(3)[list(to)]
        self.values = torch.cat([torch.eye(3)[[k]].repeat(n, 1) for k, n in enumerate(frequencies)])

    def latent(self, draws: Draws) -> Tensor:
        return self.values

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return x @ self.matrix


class Table(nn.Module):
    """A logit for each pair of values."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3, 3))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.einsum("ni,ij,nj->n", x, self.logits, z)


def table_game(generator: Map, encoder: Map, reals: Map) -> tuple[BiGAN, Batch]:
    return BiGAN(generator, encoder, Table()), Batch.of(reals.values, Draws(0, 0, "D", torch.arange(len(reals.values))))


def test_at_zero_logits_every_term_is_ln_2() -> None:
    game, batch = table_game(Map((0, 1, 2)), Map((1, 2, 0)), Map((0, 1, 2)))
    for term in [*game.discriminator_loss(batch).values(), *game.encoder_generator_loss(batch).values()]:
        assert term.item() == pytest.approx(math.log(2))


def test_where_the_encoder_inverts_the_generator_ds_best_answer_is_a_half() -> None:
    """The theorem: V = -ln 4 where the joint distributions agree, and only there."""
    for encoder, best in ((Map((1, 2, 0)), math.log(4)), (Map((0, 1, 2)), 0.0)):
        game, batch = table_game(Map((2, 0, 1)), encoder, Map((0, 1, 2)))
        optimizer = torch.optim.SGD(game.D.parameters(), lr=10.0)
        for _ in range(300):
            loss = sum(game.discriminator_loss(batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() == pytest.approx(best, abs=2e-2)


def test_ds_best_answer_is_the_ratio_of_the_joint_frequencies() -> None:
    """p(x, E(x)) = 1/2, 1/4, 1/4 against p(G(z), z) = 1/4, 1/4, 1/2: D* = 2/3, 1/2, 1/3."""
    game, batch = table_game(Map((0, 1, 2), (1, 1, 2)), Map((0, 1, 2)), Map((0, 1, 2), (2, 1, 1)))
    with torch.no_grad():
        game.D.logits.copy_(torch.diag(torch.tensor([math.log(2), 0.0, -math.log(2)])))
    terms = game.discriminator_loss(batch)
    sum(terms.values()).backward()
    assert game.D.logits.grad.abs().max() < 1e-6
    value = -(math.log(2 / 3) / 2 + math.log(1 / 2) / 4 + math.log(1 / 3) / 4)      # of either term
    assert [term.item() for term in terms.values()] == pytest.approx([value, value])


@pytest.mark.parametrize("encoder, distance", [((1, 2, 0), 0.0), ((0, 1, 2), 2 / 3)],
                         ids=["the inverse", "another permutation"])
def test_the_cycle_is_nothing_for_the_inverse_alone(encoder: tuple[int, ...], distance: float) -> None:
    """Both permutations have the same adversarial terms where D is at a half. Of three one-hot values, a wrong one is
    off by 1 in two places."""
    game, batch = table_game(Map((2, 0, 1)), Map(encoder), Map((0, 1, 2)))
    game.cycle = 1.0
    terms = game.encoder_generator_loss(batch)
    assert (terms["encoder"] + terms["generator"]).item() == pytest.approx(math.log(4))
    assert terms["cycle"].item() == pytest.approx(distance)


def test_the_cycle_teaches_the_encoder_and_the_generator() -> None:
    game = bigan(cycle=1.0)
    cycle = game.encoder_generator_loss(batch_of())["cycle"]
    learned = torch.autograd.grad(cycle, [*game.E.parameters(), *game.G.parameters()], retain_graph=True)
    assert all(g.abs().sum() > 0 for g in learned)
    assert not any(g is not None for g in torch.autograd.grad(cycle, list(game.D.parameters()), allow_unused=True))


# --- networks -------------------------------------------------------------------------------------------------------

def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_networks_have_the_published_sizes() -> None:
    game = build.game(loading.load(["recipe=bigan_mnist"]), {"real": Spec("image", (1, 28, 28))})
    assert [count(game.players[name]) for name in "GED"] == [1_953_792, 1_902_592, 1_903_616]
    assert not any(name.endswith("bias") for name, _ in game.named_parameters())


def test_pixels_and_codes_stay_in_their_ranges() -> None:
    game, batch = bigan(encoder="deterministic").eval(), batch_of()
    for network in (game.G, game.E):
        network.out.weight.data *= 1000
    assert 0.9 < game.E(batch.reals).abs().max() <= 1 and 0.9 < game.G(latents(game.G, batch.draws)).abs().max() <= 1
    assert latents(game.G, batch.draws).abs().max() <= 1
    normal = Encoder((1, 4, 4), 12, 5, "normal")
    normal.out.weight.data *= 1000
    assert normal(batch.reals).abs().max() > 2


def test_a_stochastic_encoder_draws_from_the_gaussian_that_it_predicts() -> None:
    encoder, x = Encoder((2,), 12, 3, "normal", stochastic=True, norm_group=GROUP), torch.randn(1, 2).expand(4096, 2)
    encoder.out.weight.data *= 20
    encoder.eval()
    drawn, predicted = encoder(x, torch.randn(4096, 3)), encoder.out(encoder.features(x))[0].detach()
    torch.testing.assert_close(drawn.mean(0), predicted[:3], atol=0.1, rtol=0.1)
    torch.testing.assert_close(drawn.std(0).log(), predicted[3:], atol=0.1, rtol=0)
    torch.testing.assert_close(encoder(x)[0], predicted[:3])
    plain = Encoder((2,), 12, 3).eval()
    assert torch.equal(plain(x, torch.randn(4096, 3)), plain(x))


# --- a run ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def run(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bigan")
    recipe = folder / "tiny.yaml"
    recipe.write_text(f"""# BiGAN in small
data: {{path: "{tiny_set}", resolution: 16, labels: none, workers: 0, block_records: 8, window_blocks: 4}}
game: {{name: bigan, hidden: 16, latent_dim: 6, norm_group: 16}}
batch_size: 32
lanes: 2
total_images: 128
snapshot: {{every_images: 128, rows: 2, columns: 2}}
""")
    launch(1, f"recipe={recipe}", f"run_dir={folder / 'run'}")
    return folder / "run"


def test_a_run_encodes_and_reconstructs(run: Path, tmp_path: Path) -> None:
    exports.save(exports.load_all(run), tmp_path / "bigan.safetensors")
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    codes = []
    for path in (run, tmp_path / "bigan.safetensors"):
        code, again = scalegan.load(path, "encode")(x), scalegan.load(path, "reconstruct")(x)
        assert code.shape == (3, 6) and again.shape == x.shape and again.abs().max() <= 1
        assert scalegan.load(path)(code).shape == x.shape
        codes.append(code)
    assert torch.equal(*codes)
    picture = Image.open(run / "samples" / "000000000128.png")
    assert picture.height > picture.width           # four rows of x, G(E(x)) and G(z)


@pytest.mark.parametrize("network", ["encode", "reconstruct"])
def test_sample_refuses_what_takes_images(network: str, run: Path) -> None:
    with pytest.raises(UserError, match="takes image, not seeds; name G with --network") as raised:
        exports.load_generator(run, network)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("keys, said", [
    ({"data": {**RECIPE["data"], "labels": "class"}}, "set data.labels=none"),
    ({"augment": {"name": "ada"}}, "set augment.name=none"),
    ({"model": {"name": "mlp"}}, "leave out model"),
    ({"game": {"name": "bigan", "latent_dims": 3}}, "latent_dim"),
    ({"game": {"name": "bigan", "cycle_distance": "l1"}}, "set game.cycle"),
    ({"optimizer": {"Q": {"lr": 1e-3}}}, "players G, E and D"),
    ({"micro_batch_size": 16, "game": {"name": "bigan", "norm_group": 12}}, "game.norm_group=12 does not divide"),
])
def test_what_does_not_fit_is_said_in_a_line(keys: dict, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as raised:
        check_world(loading.parse({**RECIPE, "game": {"name": "bigan"}, **keys}, "test"), 1)
    assert len(str(raised.value).splitlines()) == 1


def test_weight_decay_adds_a_multiple_of_the_weights_to_the_gradients() -> None:
    network = nn.Linear(3, 2, bias=False)
    before = network.weight.detach().clone()
    game = BiGAN(network, nn.Identity(), nn.Identity())
    for name in ("sgd", "rmsprop", "adam"):
        made = optimizers.make({"G": config.Optimizer(name=name, lr=0.1, weight_decay=0.5)}, game)["G"]
        assert torch.equal(network.weight, before)
        network.weight.grad = torch.zeros_like(before)
        made.step()
        if name == "sgd":
            torch.testing.assert_close(network.weight.detach(), 0.95 * before)
        else:                                           # the first step is along the sign of the gradient
            assert torch.equal((network.weight.detach() - before).sign(), -before.sign())
        with torch.no_grad():
            network.weight.copy_(before)
