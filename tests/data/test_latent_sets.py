"""Latents: `scalegan prepare --encoder` stores an encoder's posterior, and training draws from it by keys."""

from pathlib import Path

import numpy as np
import pytest
import sources_made as made
import torch
import yaml
from torch import Tensor

from scalegan.commands.prepare import main
from scalegan.config import Data, loading
from scalegan.data import autoencoder_file, opening
from scalegan.data.manifest import load_set
from scalegan.data.pixels import from_levels
from scalegan.data.preparing import facts
from scalegan.data.reading.stream import StoredBatch
from scalegan.data.spec import Latents, Spec
from scalegan.errors import RecipeError, UserError
from scalegan.games.base import Preview
from scalegan.metrics.images import StoredImages, open_images
from scalegan.models.autoencoder_kl import Decoder, Encoder, Sizes, posterior
from scalegan.randomness import Draws
from scalegan.support.digests import digest_of
from scalegan.training import build
from scalegan.training.batch_loader import BatchLoader, StreamSettings
from scalegan.training.costs import Costs, specs_of

pytestmark = pytest.mark.slow       # the module's set is made by a process that imports torch

SIZES = Sizes(channels=3, widths=(4, 8), layers=1, latent_channels=2, groups=2)
COUNT, SIDE = 40, 16


def prepare(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def write_autoencoder(path: Path, seed: int = 0, scale: float | None = 0.5) -> Path:
    generator = torch.Generator().manual_seed(seed)
    halves = [Encoder(SIZES), Decoder(SIZES)]
    for half in halves:
        half.initialise(lambda name: generator)
    autoencoder_file.save(path, SIZES, halves, scale)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_folder(tmp_path_factory.mktemp("photos") / "photos", {"cat": COUNT // 2, "dog": COUNT // 2})


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_autoencoder(tmp_path_factory.mktemp("vae") / "vae.safetensors")


@pytest.fixture(scope="module")
def latents(photos: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents") / "set"
    assert prepare(photos, folder, "--resolution", SIDE, "--encoder", autoencoder, "--mirrored", "--workers", 1) == 0
    return folder


def test_records_are_the_posteriors_of_images_and_of_mirror_images(
        photos: Path, autoencoder: Path, latents: Path, tmp_path: Path) -> None:
    assert prepare(photos, tmp_path / "pixels", "--resolution", SIDE, "--encoding", "raw", "--workers", 1) == 0
    pixels, stored = StoredImages(tmp_path / "pixels"), StoredImages(latents, "latent")
    encoder = autoencoder_file.read(autoencoder).encoder
    for number in (0, 7, COUNT - 1):
        image = from_levels(torch.from_numpy(pixels.read(number)).permute(2, 0, 1)[None])
        for view, seen in enumerate((image, image.flip(-1))):
            with torch.no_grad():
                mean, deviation = posterior(encoder(seen))
            expected = torch.cat([mean, deviation]).half()      # rounded, as the manifest says
            assert torch.equal(torch.from_numpy(stored.read(number))[view], expected)
    assert pixels.labels.tolist() == stored.labels.tolist()


def test_workers_and_shards_do_not_change_a_record_and_the_command_can_be_repeated(
        photos: Path, autoencoder: Path, latents: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = (photos, tmp_path / "set", "--resolution", SIDE, "--encoder", autoencoder, "--mirrored")
    assert prepare(*command, "--workers", 2, "--shard-records", 7) == 0
    assert load_set(tmp_path / "set")[0].content == load_set(latents)[0].content
    assert prepare(*command, "--shard-records", 7) == 0 and "already complete" in capsys.readouterr().out
    assert prepare(latents, "--verify") == 0
    write_autoencoder(tmp_path / "set" / autoencoder_file.FILE, seed=1)
    with pytest.raises(UserError, match="has other weights"):
        prepare(tmp_path / "set", "--verify")
    with pytest.raises(UserError, match="was begun with encoder"):
        prepare(photos, tmp_path / "set", "--resolution", SIDE, "--encoder", autoencoder, "--shard-records", 7)


def test_the_manifest_names_encoder_decoder_scale_and_images(latents: Path, autoencoder: Path) -> None:
    image, found = load_set(latents)[0].image, autoencoder_file.read(autoencoder)
    assert image.latents == Latents(digest_of(found.encoder), digest_of(found.decoder), (3, SIDE, SIDE), 0.5,
                                    mirrored=True)
    assert (image.kind, image.tensor_shape, image.resolution) == ("latent", (2, SIDE // 2, SIDE // 2), SIDE // 2)
    beside = autoencoder_file.read(latents / autoencoder_file.FILE)
    assert digest_of(beside.decoder) == image.latents.decoder


WRONG = {
    "nothing": ([], "is not an autoencoder"),
    "no scale": (["--encoder", "unscaled"], "--latent-scale"),
    "grey": (["--encoder", "vae", "--channels", "1"], "--channels 3"),
    "odd": (["--encoder", "vae", "--resolution", "15"], "multiples of 2"),
    "encoding": (["--encoder", "vae", "--encoding", "png"], "leave it out"),
    "ffcv": (["--encoder", "vae", "--format", "ffcv"], "stored as shards"),
    "decoder": (["--encoder", "decoder"], "no encoder"),
    "mirrored": (["--mirrored"], "--encoder"),
    "scale": (["--encoder", "vae", "--latent-scale", "0"], "not above 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_said_before_anything_is_written(
        name: str, photos: Path, autoencoder: Path, tmp_path: Path) -> None:
    options, message = WRONG[name]
    decoder, unscaled = tmp_path / "decoder.safetensors", tmp_path / "unscaled.safetensors"
    autoencoder_file.save(decoder, SIZES, [Decoder(SIZES)], 0.5)
    write_autoencoder(unscaled, scale=None)
    files = {"vae": autoencoder, "decoder": decoder, "unscaled": unscaled}
    given = [files.get(word, word) for word in options] or ["--encoder", photos / "cat" / "1.jpg"]
    with pytest.raises(UserError, match=message) as caught:
        prepare(photos, tmp_path / "set", "--resolution", SIDE, *given)
    assert "\n" not in str(caught.value) and not (tmp_path / "set").exists()


# --- reading ----------------------------------------------------------------------------------------------------------

SCALED = Latents("", "", (3, 8, 8), scale=2.0, shift=0.5, mirrored=True)


def taken(position: int, count: int) -> StoredBatch:
    """Posteriors of mean `record` and deviation 1; of mirror images of mean -`record`."""
    mean = torch.arange(position, position + count).float()[:, None, None, None].expand(count, 2, 4, 4)
    one = torch.ones_like(mean)
    views = torch.stack([torch.stack([mean, one], 1), torch.stack([-mean, one], 1)], 1)
    return StoredBatch(0, views.half(), None, torch.arange(position, position + count))


def seen(count: int, offset: int = 0, flip: bool = False, seed: int = 3) -> Tensor:
    loader = BatchLoader(seed, 0, 64, offset, torch.device("cpu"), {"real": StreamSettings(flip, latents=SCALED)})
    return loader.prepare({"real": taken(offset, count)})["real"].data


def test_a_sample_depends_on_seed_and_position_alone() -> None:
    alone = seen(64)
    assert torch.equal(torch.cat([seen(32), seen(32, offset=32)]), alone)       # as two ranks have them
    assert not torch.equal(seen(64, seed=4), alone)


def test_samples_have_the_posteriors_mean_and_deviation_as_networks_see_them() -> None:
    many = torch.stack([seen(8, seed=seed) for seed in range(400)])             # [400, 8, 2, 4, 4]
    expected = (torch.arange(8.0) - SCALED.shift) * SCALED.scale
    assert (many.mean((0, 2, 3, 4)) - expected).abs().max() < 5 * SCALED.scale / (400 * 32) ** 0.5
    assert (many.std((0, 2, 3, 4)) - SCALED.scale).abs().max() < 0.05 * SCALED.scale


def test_mirroring_takes_the_latents_of_mirror_images() -> None:
    signs = (seen(64, flip=True).mean((1, 2, 3)) / SCALED.scale + SCALED.shift).sign()[4:]
    assert set(signs.tolist()) == {-1.0, 1.0}       # about half are mirrored, by the stream's own draw of sides
    assert (seen(64).mean((1, 2, 3))[4:] > 0).all()


def recipe_of(folder: Path, *more: str):
    return loading.load(["recipe=celeba_latents_small", f"data.path={folder}", f"data.resolution={SIDE // 2}",
                         "data.latents=2", "model.name=r3gan", "model.widths=[8,8]", "model.cardinalities=[1,1]",
                         *more])


def test_a_stream_of_latents_has_their_spec(latents: Path) -> None:
    source, = opening.open_sources(recipe_of(latents, "batch_size=8", "micro_batch_size=8")).values()
    assert (source.spec.kind, source.spec.shape) == ("latent", (2, SIDE // 2, SIDE // 2))
    assert source.spec.decoded == Spec("image", (3, SIDE, SIDE))
    again = Spec.of({**vars(source.spec), "latents": {**vars(source.spec.latents), "image": [3, SIDE, SIDE]}})
    assert again == source.spec


def test_means_decode_to_images_for_evaluations(latents: Path, autoencoder: Path) -> None:
    images, found = open_images(str(latents)), autoencoder_file.read(autoencoder)
    mean = torch.from_numpy(StoredImages(latents, "latent").read(3))[0, 0].float()
    with torch.no_grad():
        expected = (found.decoder(mean[None])[0] * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    found_pixels = images.read(3).astype(int)
    assert np.abs(found_pixels - expected.permute(1, 2, 0).numpy().astype(int)).max() <= 1     # scaled there and back
    assert images.shape == (3, SIDE, SIDE) and "decoded" in images.remarks[0]
    assert images.content != load_set(latents)[0].content


@pytest.mark.parametrize("keys, message", [
    (["data.latents=0"], "set data.latents=2"), (["data.latents=4"], "set data.latents=2"),
    (["data.resolution=16", "model.widths=[8,8,8]", "model.cardinalities=[1,1,1]"], "set data.resolution=8"),
    (["data.decoder=nowhere"], "nowhere"), (["data.decoder=OTHER"], "another decoder")])
def test_recipes_that_do_not_fit_a_set_are_refused_in_one_line(
        keys: list[str], message: str, latents: Path, tmp_path: Path) -> None:
    other = write_autoencoder(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(UserError, match=message) as caught:
        recipe = recipe_of(latents, *(key.replace("OTHER", str(other)) for key in keys))
        spec = next(iter(opening.open_sources(recipe).values())).spec
        opening.decoder_of(recipe.data, spec.latents)
    assert "\n" not in str(caught.value)


def test_another_decoder_of_the_same_encoder_may_decode(latents: Path, autoencoder: Path, tmp_path: Path) -> None:
    path, found = tmp_path / "tuned.safetensors", autoencoder_file.read(autoencoder)
    autoencoder_file.save(path, SIZES, [found.encoder, Decoder(SIZES)], 0.5)
    spec_latents = load_set(latents)[0].image.latents
    decoder = opening.decoder_of(Data(path=str(latents), decoder=str(path)), spec_latents)
    assert digest_of(decoder) != spec_latents.decoder and decoder.scale == 0.5
    (latents / autoencoder_file.FILE).rename(tmp_path / "kept")
    try:
        with pytest.raises(UserError, match="there is no autoencoder"):
            opening.decoder_of(Data(path=str(latents)), spec_latents)
    finally:
        (tmp_path / "kept").rename(latents / autoencoder_file.FILE)


def test_flips_need_the_latents_of_mirror_images(photos: Path, autoencoder: Path, tmp_path: Path) -> None:
    unmirrored = tmp_path / "set"
    assert prepare(photos / "cat", unmirrored, "--resolution", SIDE, "--encoder", autoencoder, "--workers", 1) == 0
    with pytest.raises(RecipeError, match="prepare the data again with --mirrored"):
        opening.open_sources(recipe_of(unmirrored))


def test_other_games_and_automatic_choices_refuse_latents(latents: Path) -> None:
    recipe = loading.load(["recipe=acgan_celeba_small", f"data.path={latents}", "data.resolution=16"])
    spec = Spec("latent", (2, 16, 16), attributes=3, latents=SCALED)
    with pytest.raises(RecipeError, match="holds latents, and"):
        build.game(recipe, {"real": spec})
    with pytest.raises(UserError, match="recipe=celeba_latents_small"):
        facts.look(latents, "auto")


@pytest.mark.parametrize("model", [
    "{name: dcgan, width: 4, latent_dim: 8}", "{name: mlp, hidden: 8}", "{name: biggan, width: 4, latent_dim: 8}",
    "{name: biggan_deep, width: 4, latent_dim: 8}", "{name: stylegan2, channel_base: 256, channel_max: 8}",
    "{name: r3gan, width: 8, cardinality: 2, blocks: 1}"])
def test_every_family_makes_latents_that_are_not_bounded(model: str) -> None:
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "micro_batch_size": 16,
                            "data": {"path": "-", "latents": 4, "resolution": 32, "flip": False},
                            "model": yaml.safe_load(model)}, "test")
    game = build.game(recipe, specs_of(recipe))
    with torch.no_grad():
        for parameter in game.G.parameters():
            parameter.mul_(30)
        made_up = game.fakes({"G": game.G}, Preview(Draws(0, 0, "test", torch.arange(4))))
    assert made_up.shape == (4, 4, 32, 32) and made_up.abs().max() > 1


def test_the_plan_counts_latents_not_images() -> None:
    of_latents = loading.load(["recipe=celeba_latents_small", "data.path=nowhere"])
    costs = Costs(of_latents, specs_of(of_latents))
    assert costs.specs["real"].kind == "latent" and costs.sample_elements == 4 * 16 * 16
