"""The iterative GAN: networks and updates against formulas written apart, restarts with adaptive counts, exports."""

import copy
import json
import math
from pathlib import Path

import harness
import pytest
import sources_made as made
import torch
import torch.nn.functional as F
from small_games import SAMPLES, Witness, batch_for, faces, leave_zero
from torch import Tensor, nn

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import prepare
from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.base import Batch
from scalegan.games.iterative import networks
from scalegan.games.iterative.game import IterativeGAN
from scalegan.randomness import Draws

GROUP = 4
Terms = dict[str, Tensor]


# --- one update, written out from the paper -------------------------------------------------------------------------

class Published:
    """Losses of one batch: the weights, the draws and the attributes are the game's, everything else is written out.

    Args:
        game: the game, not yet updated; x, y: reals and their attributes; c: attributes of fakes.
    """

    def __init__(self, game: IterativeGAN, batch: Batch) -> None:
        self.w, self.x, self.y, self.c = dict(game.named_parameters()), batch.reals, batch.labels, batch.given["real"]
        self.z = 2 * batch.draws.uniform("z", 100) - 1

    def of(self, player: str) -> list[Tensor]:
        return [weight for name, weight in self.w.items() if name.startswith(f"{player}.")]

    def linear(self, h: Tensor, name: str) -> Tensor:
        return h @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def normalised(self, h: Tensor, name: str) -> Tensor:
        groups, axes = h.unflatten(0, (-1, GROUP)), [1, *range(3, h.dim() + 1)]
        mean, var = groups.mean(axes, keepdim=True), groups.var(axes, unbiased=False, keepdim=True)
        shape = [-1, *[1] * (h.dim() - 2)]
        return ((groups - mean) / (var + 1e-5).sqrt()).flatten(0, 1) * self.w[f"{name}.weight"].view(shape) \
            + self.w[f"{name}.bias"].view(shape)

    def generated(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.linear(torch.cat([z, c], 1), "G.stem").unflatten(1, (-1, 2, 2))
        for norm, conv in ((0, 2), (3, 5), (6, 8), (9, 11)):
            h = torch.relu(self.normalised(h, f"G.layers.{norm}"))
            h = F.conv_transpose2d(h, self.w[f"G.layers.{conv}.weight"], self.w[f"G.layers.{conv}.bias"], 2, 2, 1)
        return torch.tanh(h)

    def maps(self, x: Tensor) -> list[Tensor]:
        found = []
        for number in range(4):
            x = F.conv2d(x, self.w[f"trunk.layers.{number}.0.weight"], self.w[f"trunk.layers.{number}.0.bias"], 2, 2)
            x = self.normalised(x, f"trunk.layers.{number}.1") if number else x
            x = torch.where(x > 0, x, 0.2 * x)
            found.append(x)
        return found

    def source(self, x: Tensor) -> Tensor:
        """P(real | x)."""
        return torch.sigmoid(self.linear(self.maps(x)[-1].flatten(1), "D.out"))[:, 0]

    def recognised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The attributes' probabilities, and the code."""
        h = self.normalised(self.linear(self.maps(x)[-1].flatten(1), "C.share"), "C.norm")
        h = torch.where(h > 0, h, 0.2 * h)
        return torch.sigmoid(self.linear(h, "C.attributes")), torch.tanh(self.linear(h, "C.code"))

    def label(self, x: Tensor, labels: Tensor) -> Tensor:
        chance = self.recognised(x)[0]
        return -(labels * torch.log(chance) + (1 - labels) * torch.log(1 - chance)).mean()

    def d_phase(self, weight: float) -> tuple[Terms, Terms]:
        """The source terms and the label terms of D and C."""
        fake = self.generated(self.z, self.c).detach()
        return ({"real": -torch.log(self.source(self.x)).mean(), "fake": -torch.log(1 - self.source(fake)).mean()},
                {"real_label": weight * self.label(self.x, self.y), "fake_label": weight * self.label(fake, self.c)})

    def g_phase(self, weight: float) -> Terms:
        fake = self.generated(self.z, self.c)
        return {"fake": -torch.log(self.source(fake)).mean(), "label": weight * self.label(fake, self.c)}

    def rebuild_phase(self, perceptual: float, pixel: float, code: float) -> Terms:
        chance, found = self.recognised(self.x)
        rebuilt = self.generated(found, chance.detach())
        again = self.recognised(self.generated(self.z, self.c))[1]
        layers = sum((a - b).abs().mean() for a, b in zip(self.maps(self.x), self.maps(rebuilt)))
        terms = {"perceptual": perceptual * layers, "pixel": pixel * (self.x - rebuilt).abs().mean(),
                 "code": code * (again - self.z).abs().mean()}
        return {name: term for name, term in terms.items() if term > 0}


def updated(phase: str, **keys: float) -> tuple[Published, Terms, dict[str, list[Tensor]], IterativeGAN]:
    """The formulas of a game none of whose weights is zero, and of an update of it: terms, gradients by player."""
    game, specs = faces("iterative GAN", **keys)
    leave_zero(game)
    batch = batch_for(specs, Draws(3, 0, phase, torch.arange(SAMPLES)))
    assert (batch.given["real"] != batch.labels).any()
    published = Published(copy.deepcopy(game), batch)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(p for p in game.phases if p.name == phase)
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(move, batch)
    found = {player: witness.found for player, witness in witnesses.items() if hasattr(witness, "found")}
    watched = ("grad_norm", "real_logit", "fake_logit", "hamming", "pixel_l1")
    return published, {k: v for k, v in figures.items() if not k.startswith(watched)}, found, game


def assert_gradients(found: list[Tensor], published: Published, player: str, terms: Terms) -> None:
    expected = torch.autograd.grad(sum(terms.values()), published.of(player), retain_graph=True,
                                   materialize_grads=True, allow_unused=True)
    whole = torch.cat([g.flatten() for g in expected]).norm()
    assert whole > 1e-4
    assert all((one - other).norm() <= 1e-4 * other.norm() + 1e-6 * whole for one, other in zip(found, expected))


def assert_terms(found: Terms, expected: Terms) -> None:
    assert {name: value.item() for name, value in found.items()} == \
        pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-4)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_stage_one_of_d_and_c_with_gradients_of_each_from_its_own_terms(weight: float) -> None:
    published, terms, found, _ = updated("D", label_weight=weight)
    source, label = published.d_phase(weight)
    assert_terms(terms, source | label)
    assert set(found) == {"trunk", "D", "C"}
    assert_gradients(found["D"], published, "D", source)
    assert_gradients(found["C"], published, "C", label)
    assert_gradients(found["trunk"], published, "trunk", source | label)


def test_stage_one_of_g() -> None:
    published, terms, found, _ = updated("G", label_weight=0.3)
    assert_terms(terms, published.g_phase(0.3))
    assert set(found) == {"G"}
    assert_gradients(found["G"], published, "G", published.g_phase(0.3))


SETTINGS = {"pixels alone": (0, 0.5, 0), "code alone": (0, 0, 1.0), "code and pixels": (0, 0.5, 1.0),
            "integrated": (2.0, 0.5, 1.0)}


@pytest.mark.parametrize("name", SETTINGS)
def test_stage_two_moves_g_and_c_but_not_what_images_are_compared_by(name: str) -> None:
    weights = dict(zip(("perceptual", "pixel", "code"), SETTINGS[name]))
    published, terms, found, game = updated("rebuild", **weights)
    expected = published.rebuild_phase(**weights)
    assert_terms(terms, expected)
    assert set(found) == {"G", "C"} and all(p.grad is None for p in (*game.trunk.parameters(), *game.D.parameters()))
    for player in found:
        assert_gradients(found[player], published, player, expected)


def test_stage_two_teaches_c_the_code_and_leaves_its_attributes_to_the_labels() -> None:
    _, _, found, game = updated("rebuild")
    by_name = dict(zip(dict(game.C.named_parameters()), found["C"]))
    assert not by_name["attributes.weight"].any() and by_name["code.weight"].norm() > 0 < by_name["share.weight"].norm()


class Inverse(nn.Module):
    """G, D's features and C of images that are their own codes."""

    latent, latent_dim = "uniform", 3

    def forward(self, x: Tensor, attributes: Tensor | None = None) -> Tensor:
        return x


class Features(Inverse):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, 2 * x]


class Recognising(Inverse):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x / 2


def test_a_recogniser_that_inverts_g_has_nothing_to_rebuild_better() -> None:
    game = IterativeGAN(Inverse(), Features(), Inverse(), Recognising())
    batch = Batch.of(torch.rand(5, 3), Draws(0, 0, "rebuild", torch.arange(5)), torch.ones(5, 3), torch.ones(5, 3))
    assert [term.item() for term in game.rebuilding_loss(batch).values()] == [0, 0, 0]


# --- networks -------------------------------------------------------------------------------------------------------

def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_networks_have_the_papers_sizes() -> None:
    """Counts of the layers of section 4, without the contradictions that the docstring names."""
    with torch.device("meta"):
        head, recogniser = networks.Head(networks.features(128)), networks.Recogniser(networks.features(128), 40)
        assert [count(networks.Generator(128, 3, 40)), count(networks.Trunk(3))] == [8_928_259, 4_308_352]
        assert count(recogniser.share) + count(recogniser.norm) == 33_557_504
        assert [count(head), count(recogniser.attributes), count(recogniser.code)] == [32_769, 41_000, 102_500]
        assert count(networks.Generator(80, 3, 5)) == 5_664_771     # the published code's 80 px and 5 attributes


@pytest.mark.parametrize("channels, resolution", [(3, 64), (1, 128)], ids=["64 px in colour", "128 px in grey"])
def test_images_of_any_supported_kind(channels: int, resolution: int) -> None:
    generator = networks.Generator(resolution, channels, 2, latent_dim=3, width=2, norm_group=2)
    images = generator(torch.zeros(2, 3), torch.tensor([[0, 1], [0.5, 0]]))
    assert images.shape == (2, channels, resolution, resolution)
    maps = networks.Trunk(channels, 2, 2)(images)
    assert [tuple(m.shape[1:]) for m in maps] == [(2 << k, resolution >> k + 1, resolution >> k + 1) for k in range(4)]
    assert math.prod(maps[-1].shape[1:]) == networks.features(resolution, 2)


# --- runs -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run with adaptive counts, and its command."""
    folder = tmp_path_factory.mktemp("iterative")
    made.write_files(folder / "celeba", made.celeba_files(100))
    assert prepare.main([str(folder / "celeba"), str(folder / "set"), "--kind", "celeba", "--resolution", "32"]) == 0
    command = ["recipe=iterative_celeba", f"data.path={folder / 'set'}", "data.resolution=32", "data.workers=0",
               "data.block_records=4", "data.window_blocks=2", "game.width=2", "game.hidden=8", "game.latent_dim=4",
               "game.norm_group=4", "game.adaptive_updates={ratio: 1.5, updates: 2}", "batch_size=16",
               "micro_batch_size=4", "total_images=240", "precision=fp32", "engine.reduction=tree",
               "checkpoint.every_images=80", "log={every_images: 80, tensorboard: false}", "optimizer.default.lr=0.01",
               "snapshot={every_images: 240, rows: 2, columns: 2}"]
    harness.launch(1, *command, f"run_dir={folder / 'run'}")
    return folder / "run", command


@pytest.mark.slow
def test_a_kill_and_more_ranks_change_no_bit_while_counts_adapt(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    alone, command = run
    updates = json.loads((max(alone.glob("checkpoints/*")) / "state.json").read_text())["updates"]
    assert updates["D"] > updates["rebuild"] or updates["G"] > updates["rebuild"]
    harness.check_a_kill_changes_no_bit(alone, command, tmp_path)


@pytest.mark.slow
def test_the_networks_of_a_run_and_of_its_export_recognise_rebuild_and_transform(
        run: tuple[Path, list[str]], tmp_path: Path) -> None:
    exports.save(exports.load_all(run[0]), tmp_path / "faces.safetensors")
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = []
    for source in (run[0], tmp_path / "faces.safetensors"):
        network = {name: scalegan.load(source, name) for name in ("G", "recognise", "encode", "rebuild", "transform")}
        chances, codes = network["recognise"](x), network["encode"](x)
        assert chances.shape == (3, network["recognise"].about["spec"]["attributes"]) and codes.shape == (3, 4)
        assert ((chances > 0) & (chances < 1)).all() and (codes.abs() <= 1).all()
        assert network["transform"](x, chances).equal(network["rebuild"](x))
        assert not network["transform"](x, 1 - chances).equal(network["rebuild"](x))
        assert network["transform"].about["export"]["inputs"] in (("image", "condition"), ["image", "condition"])
        found.append((network["G"](codes, chances), network["rebuild"](x), chances))
    assert all(one.equal(other) for one, other in zip(*found))


WRONG = {
    "without attributes": (["data.labels=class"], "set data.labels=attributes"),
    "another size": (["data.resolution=72"], "data.resolution=72: game.name=iterative needs a multiple of 16"),
    "nothing to rebuild": (["game.perceptual=0", "game.pixel=0", "game.code=0"], "set one of them"),
    "another family": (["model={name: mlp}"], "leave out model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(case: str) -> None:
    arguments, remedy = WRONG[case]
    with pytest.raises(RecipeError) as refusal:
        loading.load(["recipe=iterative_celeba", *arguments])
    assert remedy in str(refusal.value) and "\n" not in str(refusal.value)
