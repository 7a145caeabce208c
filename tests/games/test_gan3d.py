"""3D-GAN: updates against formulas written apart, the published sizes, D's waiting, whole runs."""

import copy
import json
from pathlib import Path

import harness
import numpy as np
import pytest
import sources_made as made
import torch
import torch.nn.functional as F
from small_games import SAMPLES, Witness, batch_for, leave_zero, volumes
from torch import Tensor, nn

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import directions, edit, evaluate, interpolate, probe, sample
from scalegan.config import loading
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.games.base import Batch, Phase
from scalegan.games.gan3d import networks
from scalegan.games.gan3d.game import GAN3D
from scalegan.games.gan3d.gate import accuracy_of
from scalegan.randomness import Draws

GROUP = 4
Terms = dict[str, Tensor]


# --- one update, written out from the paper -------------------------------------------------------------------------

class Published:
    """The losses of one batch, from the game's weights and draws.

    Args:
        game: the game, not yet updated, at 16 voxels.
        batch: volumes, and the draws of z.
    """

    def __init__(self, game: GAN3D, batch: Batch) -> None:
        self.w, self.x = dict(game.named_parameters()), batch.reals
        self.z = batch.draws.uniform("z", 5)

    def of(self, player: str) -> list[Tensor]:
        return [weight for name, weight in self.w.items() if name.startswith(f"{player}.")]

    def normalised(self, h: Tensor, name: str) -> Tensor:
        groups = h.unflatten(0, (-1, GROUP))
        mean, var = (f(groups) for f in (lambda g: g.mean([1, 3, 4, 5], keepdim=True),
                                         lambda g: g.var([1, 3, 4, 5], unbiased=False, keepdim=True)))
        gain, bias = (self.w[f"{name}.{kind}"].view(-1, 1, 1, 1) for kind in ("weight", "bias"))
        return ((groups - mean) / (var + 1e-5).sqrt()).flatten(0, 1) * gain + bias

    def generated(self) -> Tensor:
        h = torch.einsum("nz,zcijk->ncijk", self.z, self.w["G.layers.0.weight"])
        for norm, conv in ((1, 3), (4, 6)):
            h = F.conv_transpose3d(torch.relu(self.normalised(h, f"G.layers.{norm}")),
                                   self.w[f"G.layers.{conv}.weight"], stride=2, padding=1)
        return 1 / (1 + torch.exp(-h))

    def real(self, x: Tensor) -> Tensor:
        """D(x), a probability."""
        h = F.conv3d(x, self.w["D.convolutions.0.conv.weight"], stride=2, padding=1)
        h = torch.where(h > 0, h, 0.2 * h)
        h = F.conv3d(h, self.w["D.convolutions.1.conv.weight"], stride=2, padding=1)
        h = self.normalised(h, "D.convolutions.1.norm")
        h = torch.where(h > 0, h, 0.2 * h)
        return torch.sigmoid((h * self.w["D.out.weight"]).sum([1, 2, 3, 4]))

    def terms(self, phase: str, loss: str) -> Terms:
        fake = self.generated()
        if phase == "D":
            return {"real": -torch.log(self.real(self.x)).mean(),
                    "fake": -torch.log(1 - self.real(fake.detach())).mean()}
        return {"fake": -torch.log(self.real(fake)).mean() if loss == "non_saturating" else
                torch.log(1 - self.real(fake)).mean()}


@pytest.mark.parametrize("phase, loss", [("D", "non_saturating"), ("G", "non_saturating"), ("G", "minimax")],
                         ids=["D tells reals from fakes", "G, as in the published code", "G, as the paper prints it"])
def test_an_update_is_that_of_the_paper(phase: str, loss: str) -> None:
    game, specs = volumes("3D-GAN", loss=loss)
    leave_zero(game)
    batch = batch_for(specs, Draws(3, 0, phase, torch.arange(SAMPLES)))
    published = Published(copy.deepcopy(game), batch)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    move = next(one for one in game.phases if one.name == phase)
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(move, batch)
    expected = published.terms(phase, loss)
    assert {name: figures[name].item() for name in expected} == \
        pytest.approx({name: term.item() for name, term in expected.items()}, rel=1e-4)
    assert [player for player, witness in witnesses.items() if hasattr(witness, "found")] == [phase]
    gradients = torch.autograd.grad(sum(expected.values()), published.of(phase))
    whole = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert whole > 1e-3 and all((one - other).norm() <= 1e-4 * other.norm() + 1e-6 * whole
                                for one, other in zip(witnesses[phase].found, gradients))
    if phase == "G":
        right = [(published.real(published.x) > 0.5).float().mean(), (published.real(published.generated()) < 0.5)
                 .float().mean()]
        assert figures["accuracy"].item() == pytest.approx((sum(right) / 2).item())


# --- D waits while it is ahead --------------------------------------------------------------------------------------

def after(game: GAN3D, phase: str, **figures: float) -> list[int]:
    """How often G and D move after an update with these figures."""
    move = next(one for one in game.phases if one.name == phase)
    game.after(move, {name: torch.tensor(value) for name, value in figures.items()})
    return [game.repeats(one) for one in game.phases]


def test_d_waits_while_it_tells_more_than_80_percent_apart_and_moves_again_after() -> None:
    game, _ = volumes("3D-GAN")
    assert [phase.name for phase in game.phases] == ["G", "D"] and [game.repeats(one) for one in game.phases] == [1, 1]
    assert after(game, "G", accuracy=0.9) == [1, 0]
    other, _ = volumes("3D-GAN")
    other.load_state_dict(game.state_dict())
    assert [other.repeats(one) for one in other.phases] == [1, 0]       # a resumed run goes on waiting
    assert after(game, "D", real=0.1, fake=0.1) == [1, 0]               # D's own updates decide nothing
    assert after(game, "G", accuracy=0.8) == [1, 1]
    always, _ = volumes("3D-GAN", accuracy=None)
    assert after(always, "G", accuracy=1.0) == [1, 1]


def test_what_the_gate_is_told_comes_from_a_phase_that_always_moves() -> None:
    """G's phase takes the batch, whether D then moves or not; a gate fed by D's phase would never open again."""
    game, _ = volumes("3D-GAN")
    g, d = game.phases
    assert (g.fresh_batch, d.fresh_batch) == (True, False) and isinstance(g, Phase)
    assert accuracy_of(torch.tensor([1.0, 2, -1, 3]), torch.tensor([-1.0, -1, -1, -1])).item() == 0.875


# --- networks -------------------------------------------------------------------------------------------------------

def counts(network: nn.Module) -> tuple[int, int]:
    """Parameters of convolutions, and of norms."""
    found = [(p.numel(), p.dim()) for p in network.parameters()]
    return sum(n for n, dim in found if dim == 5), sum(n for n, dim in found if dim == 1)


def test_the_networks_have_the_papers_sizes() -> None:
    """4 x 4 x 4 kernels between 200, 512, 256, 128, 64 and 1 channels, and norms behind all but the first and last
    layer of D and the last of G."""
    with torch.device("meta"):
        assert counts(networks.Generator(64)) == (17_567_744, 1_920)
        assert counts(networks.Discriminator(64)) == (11_046_912, 1_792)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_volumes_of_every_size_are_shares_from_0_to_1(side: int) -> None:
    generator = networks.Generator(side, latent_dim=3, width=2, norm_group=2).eval()
    z = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    found = generator(z)
    assert found.shape == (4, 1, side, side, side) and ((found > 0) & (found < 1)).all()
    assert found[1:2].equal(generator(z[1:2]))          # whatever else is generated
    assert networks.Discriminator(side, width=2, norm_group=2)(found).shape == (4,)
    with pytest.raises(ValueError, match="no truncation"):
        generator(z, psi=0.5)


# --- runs -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run on boxes in which D sometimes waits, and its command."""
    folder = tmp_path_factory.mktemp("gan3d")
    made.volume_set(folder / "set", 96)
    command = ["recipe=gan3d_glyphs", f"data.path={folder / 'set'}", "data.workers=0", "data.block_records=4",
               "data.window_blocks=2", "game.width=2", "game.latent_dim=4", "game.norm_group=4", "batch_size=16",
               "game.accuracy=0.6", "micro_batch_size=4", "total_images=320", "precision=fp32",
               "engine.reduction=tree", "checkpoint.every_images=80", "log={every_images: 80, tensorboard: false}",
               "optimizer.D.lr=0.01", "snapshot={every_images: 320, rows: 2, columns: 2}"]
    harness.launch(1, *command, f"run_dir={folder / 'run'}")
    return folder / "run", command


@pytest.mark.slow
def test_a_kill_and_more_ranks_change_no_bit_while_d_waits(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    alone, command = run
    updates = json.loads((max(alone.glob("checkpoints/*")) / "state.json").read_text())["updates"]
    assert 0 < updates["D"] < updates["G"] == 20
    harness.check_a_kill_changes_no_bit(alone, command, tmp_path)


@pytest.mark.slow
def test_a_run_has_pictures_and_exports_volumes(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = run
    assert (folder / "reals.png").is_file() and (folder / "samples" / f"{320:012d}.png").is_file()
    exports.save(exports.load_all(folder), tmp_path / "shapes.safetensors")
    z = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    found = [scalegan.load(source)(z) for source in (folder, tmp_path / "shapes.safetensors")]
    assert found[0].shape == (3, 1, 16, 16, 16) and found[0].equal(found[1])


@pytest.mark.slow
def test_samples_are_voxels_and_meshes_and_what_is_for_images_says_so(run: tuple[Path, list[str]],
                                                                      tmp_path: Path) -> None:
    folder = run[0]
    assert sample.main([str(folder), "--seeds", "0-2", "--out", str(tmp_path / "samples")]) == 0
    found = [np.load(tmp_path / "samples" / f"seed{seed:06d}.npz")["voxels"] for seed in range(3)]
    assert all(one.shape == (16, 16, 16) and one.min() > 0 and one.max() < 1 for one in found)
    assert len(list((tmp_path / "samples").glob("*.obj"))) == 3 and (tmp_path / "samples" / "grid.png").is_file()
    assert sample.main([str(folder), "--seeds", "2", "--out", str(tmp_path / "alone")]) == 0
    name = "seed000002.npz"
    assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "samples" / name).read_bytes()
    out = str(tmp_path / "walk.png")
    attempts = {
        "interpolate": (interpolate, [str(folder), "--out", out]),
        "edit": (edit, [str(folder), "--arithmetic", "0,1,2 - 3,4,5", "--out", out]),
        "directions": (directions, [str(folder), "--unsupervised", "sefa"]),
        "evaluate": (evaluate, [str(folder), "--metrics", "ms_ssim"]),
        "probe with a classifier of images": (probe, [str(folder), "--data", str(folder), "--baseline", "cnn"]),
    }
    for name, (command, arguments) in attempts.items():
        with pytest.raises(UserError) as refusal:
            command.main(arguments)
        assert "volumes" in str(refusal.value) and "\n" not in str(refusal.value), name


@pytest.mark.slow
def test_a_probe_reads_d(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Its last layers tell flat boxes from tall ones; there are as many features as channels, times 2 x 2 x 2."""
    pytest.importorskip("sklearn")
    made.volume_set(tmp_path / "set", 60)
    assert probe.main([str(run[0]), "--data", str(tmp_path / "set"), "--out", str(tmp_path / "probe.json")]) == 0
    found = json.loads((tmp_path / "probe.json").read_text())
    assert (found["network"], found["features"], found["test"]["images"]) == ("D", 4 * 8, 12)
    assert found["accuracy"] > 0.9 > found["baselines"]["majority"] and set(found["C"]) == {"D", "untrained", "pixels"}


WRONG = {
    "labels": (["data.labels=class"], "set data.labels=none"),
    "another size": (["data.resolution=24"], "supports 16, 32, 64 voxels"),
    "images in a folder": (["data.backend=folder"], "prepare them with `scalegan prepare --kind volumes`"),
    "augmentation": (["augment.name=ada"], "set augment.name=none"),
    "evaluation": (["eval.every_images=10"], "set eval.every_images=0"),
    "another family": (["model={name: mlp}"], "leave out model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(case: str) -> None:
    arguments, remedy = WRONG[case]
    with pytest.raises(RecipeError) as refusal:
        loading.load(["recipe=gan3d_glyphs", *arguments])
    assert remedy in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.slow
def test_images_are_refused_before_the_first_update(tmp_path: Path) -> None:
    harness.make_set(tmp_path / "set")
    command = [*run_keys(tmp_path / "set"), f"run_dir={tmp_path / 'run'}"]
    done = harness.train("recipe=gan3d_glyphs", *command, code=None)
    assert done.returncode == 2 and "holds images, and game.name=gan3d needs volumes" in done.stderr


def run_keys(data: Path) -> list[str]:
    return [f"data.path={data}", "game.width=2", "data.workers=0"]
