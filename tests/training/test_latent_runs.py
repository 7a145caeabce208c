"""Runs in latents: the same bits on any ranks and after a kill, pictures that are decoded, exports that work alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import sources_made as made
import torch
from harness import SHORT_RUN, check_a_kill_changes_no_bit, digest, launch, train
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import scalegan
from scalegan.commands import evaluate, export, sample
from scalegan.commands.prepare import main as prepare
from scalegan.data import autoencoder_file
from scalegan.data.autoencoder_file import DECODER_FILE, FILE
from scalegan.errors import UserError
from scalegan.games.sampling import latents
from scalegan.metrics.images import StoredImages
from scalegan.models.autoencoder_kl import Decoder, Encoder, Sizes, posterior
from scalegan.pictures import grids
from scalegan.randomness import Draws
from scalegan.support.digests import digest_of

pytestmark = pytest.mark.slow

SIZES = Sizes(channels=3, widths=(4, 8), layers=1, latent_channels=2, groups=2)
RECIPE = """# R3GAN in latents of 2 x 8 x 8
data: {{path: "{data}", resolution: 8, latents: 2, labels: none, workers: 0, block_records: 4, window_blocks: 4}}
model: {{name: r3gan, widths: [8, 8], cardinalities: [2, 2], blocks: 1, latent_dim: 8}}
game: {{name: gan, loss: relativistic, penalties: {{r1: {{gamma: 1}}, r2: {{gamma: 1}}}}}}
""" + SHORT_RUN
AUTOENCODER = """# Autoencoder of small pictures
data: {{path: "{data}", resolution: 16, labels: none, workers: 0, block_records: 4, window_blocks: 4}}
model: {{name: autoencoder_kl, widths: [4, 8], layers: 1, latent_channels: 2, groups: 2}}
game: {{name: aae, hidden: 8}}
""" + SHORT_RUN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, their pixels, an autoencoder, the photos' latents, and both recipes."""
    root = tmp_path_factory.mktemp("latents")
    photos = made.write_folder(root / "photos", {"all": 64})
    prepare([str(photos), str(root / "pixels"), "--resolution", "16", "--workers", "1"])
    generator = torch.Generator().manual_seed(0)
    halves = [Encoder(SIZES), Decoder(SIZES)]
    for half in halves:
        half.initialise(lambda name: generator)
    autoencoder_file.save(root / "vae.safetensors", SIZES, halves, 0.5)
    prepare([str(photos), str(root / "set"), "--resolution", "16", "--encoder", str(root / "vae.safetensors"),
             "--mirrored", "--workers", "1"])
    (root / "gan.yaml").write_text(RECIPE.format(data=root / "set"))
    (root / "aae.yaml").write_text(AUTOENCODER.format(data=root / "pixels"))
    launch(1, f"recipe={root / 'gan.yaml'}", f"run_dir={root / 'run'}")
    return root


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path)).astype(int)


def test_ranks_and_a_kill_change_no_bit(folder: Path, tmp_path: Path) -> None:
    check_a_kill_changes_no_bit(folder / "run", [f"recipe={folder / 'gan.yaml'}"], tmp_path / "killed")


def test_the_autoencoders_game_does_not_depend_on_ranks_and_exports_both_halves(folder: Path, tmp_path: Path) -> None:
    for ranks in (1, 2):
        launch(ranks, f"recipe={folder / 'aae.yaml'}", f"run_dir={tmp_path / str(ranks)}")
    assert digest(tmp_path / "1") == digest(tmp_path / "2")
    written = tmp_path / "vae.safetensors"
    assert export.main([str(tmp_path / "1"), "--format", "autoencoder-kl", "--out", str(written)]) == 0
    found = autoencoder_file.read(written)
    encoder = scalegan.load(str(tmp_path / "1"), network="encode")
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        codes = encoder(images)
        assert torch.equal(posterior(found.encoder(images))[0].flatten(1), codes)
        assert torch.equal(found.decoder(codes.view(2, 2, 8, 8)), scalegan.load(str(tmp_path / "1"))(codes))
    moments = encoder.E.moments
    assert found.scale == pytest.approx(1 / moments.deviation) and moments.updates == 40    # of two phases
    with pytest.raises(UserError, match="autoencoder_kl"):
        export.main([str(folder / "run"), "--format", "autoencoder-kl", "--out", str(tmp_path / "no.safetensors")])


def test_generators_and_pictures_are_decoded(folder: Path, tmp_path: Path) -> None:
    run = folder / "run"
    generator = scalegan.load(str(run))
    z = latents(generator, Draws(0, 0, "snapshot", torch.arange(6)))
    with torch.no_grad():
        images = generator(z)
        inner = autoencoder_file.read(folder / "vae.safetensors").decoder(generator.generator(z) / 0.5)
    torch.testing.assert_close(images, inner)
    assert images.shape == (6, 3, 16, 16) and generator.about["spec"]["kind"] == "image"
    grids.save_grid(tmp_path / "expected.png", images, 3)
    picture = pixels(run / "samples" / "000000000320.png")
    assert np.abs(picture - pixels(tmp_path / "expected.png")).max() <= 1
    assert pixels(run / "reals.png").shape == picture.shape


def test_an_export_works_without_data_and_run(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    assert export.main([str(folder / "run"), "--out", str(alone)]) == 0
    assert sample.main([str(folder / "run"), "--seeds", "0-3", "--out", str(tmp_path / "of_run")]) == 0
    moved = folder.with_name("moved")
    folder.rename(moved)
    try:
        assert sample.main([str(alone), "--seeds", "0-3", "--out", str(tmp_path / "of_export")]) == 0
        again = tmp_path / "again.safetensors"
        assert export.main([str(alone), "--out", str(again)]) == 0 and again.read_bytes() == alone.read_bytes()
    finally:
        moved.rename(folder)
    assert (tmp_path / "of_run" / "grid.png").read_bytes() == (tmp_path / "of_export" / "grid.png").read_bytes()


def test_a_damaged_export_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    export.main([str(folder / "run"), "--out", str(alone)])
    with safe_open(alone, "pt") as file:
        header = file.metadata()
    weights = load_file(alone)
    weights.pop("decoder/decoder.conv_in.weight")
    save_file(weights, alone, metadata=header)
    with pytest.raises(UserError, match="no decoder") as caught:
        scalegan.load(str(alone))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "other", "garbage"])
def test_a_runs_decoder_that_is_not_its_own_is_said_and_put_there_again(
        damage: str, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    (run / DECODER_FILE).unlink()
    if damage == "other":
        autoencoder_file.save(run / DECODER_FILE, SIZES, [Decoder(SIZES)], 0.5)
    elif damage == "garbage":
        (run / DECODER_FILE).write_bytes(b"garbage")
    with pytest.raises(UserError, match=DECODER_FILE) as caught:
        scalegan.load(str(run))
    assert "\n" not in str(caught.value)
    launch(1, f"recipe={folder / 'gan.yaml'}", f"run_dir={run}")
    kept = autoencoder_file.read(folder / "run" / DECODER_FILE).decoder
    assert digest_of(autoencoder_file.read(run / DECODER_FILE).decoder) == digest_of(kept)
    scalegan.load(str(run))


def test_another_decoder_makes_another_run(folder: Path, tmp_path: Path) -> None:
    found = autoencoder_file.read(folder / "vae.safetensors")
    tuned = tmp_path / "tuned.safetensors"
    autoencoder_file.save(tuned, SIZES, [found.encoder, Decoder(SIZES)], 0.5)
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    done = train(f"recipe={folder / 'gan.yaml'}", f"run_dir={run}", f"data.decoder={tuned}", "total_images=400", code=2)
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1 and "fixed.decoder" in errors[0] and "Traceback" not in done.stderr
    shutil.move(folder / "set" / FILE, tmp_path / FILE)
    try:
        done = train(f"recipe={folder / 'gan.yaml'}", f"run_dir={run}", "total_images=400", code=None)
    finally:
        shutil.move(tmp_path / FILE, folder / "set" / FILE)
    assert done.returncode and FILE in done.stderr and "Traceback" not in done.stderr


def test_evaluations_compare_with_original_images_or_with_decoded_ones(
        folder: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("torchvision", reason="features need the extra metrics")
    common = ["--metrics", "kid", "--num-samples", "16", "--num-reals", "32"]
    assert evaluate.main([str(folder / "run"), *common]) == 0
    decoded = capsys.readouterr().out
    assert evaluate.main([str(folder / "run"), "--data", str(folder / "pixels"), *common]) == 0
    original = capsys.readouterr().out
    assert "decoded from latents" in decoded and "decoded from latents" not in original
    assert StoredImages(folder / "pixels").content in original
