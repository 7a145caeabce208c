"""3D-VAE-GAN: an update against formulas written apart, the published encoder, shapes from pictures."""

import json
from pathlib import Path

import harness
import numpy as np
import pytest
import sources_made as made
import torch
from PIL import Image
from small_games import SAMPLES, VOLUMES, Witness, batch_for, exported, leave_zero, volumes

from scalegan.checkpoints import exports
from scalegan.commands import apply, probe
from scalegan.config import loading
from scalegan.data.rendering import rendered
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError, UserError
from scalegan.games.gan3d.encoder import Encoder
from scalegan.randomness import Draws


def test_an_update_of_generator_and_encoder_is_that_of_the_paper() -> None:
    game, specs = volumes("3D-VAE-GAN")
    leave_zero(game)
    batch = batch_for(specs, Draws(3, 0, "G", torch.arange(SAMPLES)))
    batch.streams["real"].data.clamp_(0, 1)
    witnesses = {player: Witness(network) for player, network in game.players.items()}
    figures = DDPEngine(game, witnesses, Ranks(0, 1, torch.device("cpu")), SAMPLES).update(game.phases[0], batch)

    mean, log_variance = game.E(rendered(batch.reals, "corner")).split(5, 1)
    sigma = torch.exp(0.5 * log_variance)
    z = mean + sigma * batch.draws.normal("encoded", 5)
    apart = ((game.G(z) - batch.reals) ** 2).sum((1, 2, 3, 4)).sqrt().mean()
    divergence = (-0.5 * (1 + log_variance - mean**2 - log_variance.exp())).sum(1).mean()
    fooling = -torch.log(torch.sigmoid(game.D(game.G(batch.draws.normal("z", 5))))).mean()
    expected = {"fake": fooling, "divergence": 0.5 * divergence, "reconstruction": 0.3 * apart}
    assert {name: figures[name].item() for name in expected} == \
        pytest.approx({name: term.item() for name, term in expected.items()}, rel=1e-4)
    assert [player for player, witness in witnesses.items() if hasattr(witness, "found")] == ["G", "E"]
    for player in ("G", "E"):
        wanted = torch.autograd.grad(sum(expected.values()), list(game.players[player].parameters()),
                                     retain_graph=True)
        for one, other in zip(witnesses[player].found, wanted):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_encoder_has_no_part_in_the_discriminators_update() -> None:
    game, specs = volumes("3D-VAE-GAN")
    plain, _ = volumes("3D-GAN", latent="normal")
    leave_zero(game)
    plain.load_state_dict({name: value for name, value in game.state_dict().items() if not name.startswith("E.")})
    batch = batch_for(specs, Draws(3, 0, "D", torch.arange(SAMPLES)))
    terms = [one.discriminator_loss(batch) for one in (game, plain)]
    assert terms[0].keys() == terms[1].keys() and all(terms[0][name].equal(terms[1][name]) for name in terms[0])


def test_the_published_encoder() -> None:
    with torch.device("meta"):
        encoder = Encoder(256)
        shapes = [tuple(one.weight.shape) for one in encoder.modules() if isinstance(one, torch.nn.Conv2d)]
        assert encoder(torch.empty(16, 1, 256, 256)).shape == (16, 400)
    assert shapes == [(64, 1, 11, 11), (128, 64, 5, 5), (256, 128, 5, 5), (512, 256, 5, 5), (400, 512, 8, 8)]


def test_divergence_is_zero_for_the_prior() -> None:
    game, specs = volumes("3D-VAE-GAN")
    for parameter in game.E.layers[-1].parameters():
        parameter.data.zero_()
    batch = batch_for(specs, Draws(3, 0, "G", torch.arange(SAMPLES)))
    assert game.generator_loss(batch)["divergence"].item() == 0


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    keys, specs = VOLUMES["3D-VAE-GAN"]
    return exported(keys, tmp_path / "all.safetensors", specs["real"], 5.0)


@pytest.mark.slow
def test_pictures_become_shapes(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    network = exports.load(saved, "rebuild")
    shapes = (torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    pictures = rendered(shapes, "corner")
    (tmp_path / "in").mkdir()
    for name, picture in zip("ab", pictures):
        Image.fromarray(((picture[0] + 1) * 127.5).round().byte().numpy()).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "c.png").write_text("not a picture")
    assert apply.main([str(saved), str(tmp_path / "in"), "--network", "rebuild", "--out", str(tmp_path / "out")]) == 1
    assert "c.png" in capsys.readouterr().err
    found = np.load(tmp_path / "out" / "a.npz")["voxels"]
    assert found.shape == (16, 16, 16)
    np.testing.assert_allclose(found, network(pictures[:1])[0, 0].numpy(), atol=0.05)   # of pictures in 8 bits
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.{kind}" for name in "ab"
                                                                    for kind in ("png", "npz", "obj")}
    assert Image.open(tmp_path / "out" / "b.png").size == (3 * 64, 64)


@pytest.mark.parametrize("keys, words", [
    ({"latent": "unit"}, "set game.latent=normal"),
    ({"latent": "normal", "encoder": {"width": 0}}, "game.encoder.width"),
    ({"latent": "normal", "encoder": {"weight": 1}}, "weight"),
])
def test_recipes_that_do_not_fit(keys: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16},
                       "optimizer": {"default": {}}, "game": {"name": "gan3d", "encoder": {}, **keys}}, "test")


def test_what_makes_no_shape_of_a_picture_is_refused(saved: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for network in ("G", "encode"):
        with pytest.raises(UserError, match="does not turn images"):
            apply.main([str(saved), str(tmp_path / "a.png"), "--network", network, "--out", str(tmp_path / "x")])


@pytest.mark.slow
def test_networks_say_what_they_take(saved: Path) -> None:
    said = {name: network.about["export"] for name, network in exports.load_all(saved).items()}
    assert {name: (list(about["inputs"]), about["output"]) for name, about in said.items()} == {
        "G": (["z"], "volume"), "encode": (["image"], "vector"), "rebuild": (["image"], "volume")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run on boxes, and its command."""
    folder = tmp_path_factory.mktemp("vaegan3d")
    made.volume_set(folder / "set", 96)
    command = ["recipe=vaegan3d_glyphs", f"data.path={folder / 'set'}", "data.workers=0", "data.block_records=4",
               "data.window_blocks=2", "game.width=2", "game.encoder.width=2", "game.latent_dim=4", "game.norm_group=4",
               "batch_size=16", "micro_batch_size=4", "total_images=160", "precision=fp32", "engine.reduction=tree",
               "checkpoint.every_images=80", "log={every_images: 80, tensorboard: false}",
               "snapshot={every_images: 160, rows: 2, columns: 2}"]
    harness.launch(1, *command, f"run_dir={folder / 'run'}")
    return folder / "run", command


@pytest.mark.slow
def test_a_kill_and_more_ranks_change_no_bit(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    harness.check_a_kill_changes_no_bit(*run, tmp_path)


@pytest.mark.slow
def test_a_probe_reads_d_not_the_encoder_of_pictures(run: tuple[Path, list[str]],
                                                     capsys: pytest.CaptureFixture) -> None:
    folder, _ = run
    assert probe.main([str(folder), "--data", str(folder.parent / "set")]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "D"
