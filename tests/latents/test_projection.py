"""`scalegan project`: photos come nearer, latents keep their bits through files, and other commands draw the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_generators import generator, saved

from scalegan.commands import edit, interpolate, project, sample
from scalegan.errors import UsageError, UserError
from scalegan.latents import latent_files, stylegan2_projection
from scalegan.latents import likeness as likenesses
from scalegan.latents.interpolation import between
from scalegan.latents.latent_files import Latents
from scalegan.latents.likeness import Likeness
from scalegan.latents.projection import Way, read_photo
from scalegan.latents.space import Space
from scalegan.pictures.grids import pixels_of


@pytest.fixture(autouse=True)
def pixels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bundled network, which takes a second to load."""
    monkeypatch.setattr(likenesses, "_features", lambda device: None)


def photo(path: Path) -> Path:
    """A photo of smooth colours, wider than high."""
    small = np.random.default_rng(0).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(small).resize((60, 44), Image.Resampling.BICUBIC).save(path)
    return path


def projected(run: Path, out: Path, capsys: pytest.CaptureFixture, *arguments: object) -> dict:
    assert project.main([str(photo(out.with_suffix(".png"))), str(run), "--out", str(out),
                         *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.mark.slow
def test_photos_come_nearer_from_w_to_w_plus_to_tuned_generators(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = saved("StyleGAN2", tmp_path / "G.safetensors")
    ways = {"w": (), "w+": ("--space", "w+"), "tuned": ("--pivotal-tuning",)}
    said = {name: projected(run, tmp_path / name, capsys, "--steps", 150, *more) for name, more in ways.items()}
    assert said["tuned"]["distance"] < said["w"]["distance"] > said["w+"]["distance"]
    assert {path.name for path in (tmp_path / "tuned").iterdir()} == {
        "latent.safetensors", "projected.png", "picture.png", "way.gif", "tuned.safetensors"}
    with Image.open(tmp_path / "w" / "way.gif") as way:
        assert way.n_frames > 3
    for name, of in (("w", run), ("w+", run), ("tuned", tmp_path / "tuned" / "tuned.safetensors")):
        latents = tmp_path / name / "latent.safetensors"
        assert sample.main([str(of), "--latents", str(latents), "--out", str(tmp_path / f"{name} sampled")]) == 0
        assert (picture(tmp_path / f"{name} sampled" / "latent000000.png") ==
                picture(tmp_path / name / "projected.png")).all()
    with pytest.raises(UserError, match="has latents of other weights"):
        sample.main([str(run), "--latents", str(tmp_path / "tuned" / "latent.safetensors")])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DCGAN of uniform z", "DCGAN with classes", "R3GAN"])
def test_generators_without_styles_are_searched_in_z(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, classes = saved(name, tmp_path / "G.safetensors"), ["--classes", "b"] if "classes" in name else []
    said = projected(run, tmp_path / "found", capsys, *classes)
    space = Space(generator(name))
    file = tmp_path / "found" / "latent.safetensors"
    latents = latent_files.read([file], space, run)
    assert latents.labels is None or latents.labels.tolist() == [1]
    shown = pixels_of(latents.images(space).clamp(-1, 1))[0]
    assert (shown == picture(tmp_path / "found" / "projected.png")).all()
    target = read_photo(space, tmp_path / "found.png")
    others = space.images(*space.drawn(64, "others"))
    assert said["distance"] < Likeness(space.device)(others, target).min()
    with pytest.raises(UsageError, match="is not style-based"):
        projected(run, tmp_path / "again", capsys, "--space", "w+")


def test_a_sample_of_the_generator_is_found_again() -> None:
    space = Space(generator("StyleGAN2"))
    target, way = space.images(space.of_seeds([5])), Way()
    space.generator.requires_grad_(False)
    found = stylegan2_projection.project(space, target, None, Likeness(space.device), lambda steps: None, way, steps=60)
    start = (way.frames[0] - target[0]).square().mean()
    assert (found.images(space) - target).square().mean() < 0.2 * start
    for plane in found.noise.values():
        assert abs(plane.mean()) < 1e-5 and abs(plane.square().mean() - 1) < 1e-3


def latents_of(space: Space, count: int, plus: bool = False) -> Latents:
    seeded = torch.Generator().manual_seed(0)
    points = space.of_seeds(list(range(count)))
    if plus:
        points = space.of_layers(points) + torch.randn(count, space.generator.num_ws, 1, generator=seeded)
    noise = {layer: torch.randn(count, *shape, generator=seeded)
             for layer, shape in space.generator.synthesis.noise_shapes().items()} if space.styled else {}
    return Latents(points, None, noise)


@pytest.mark.parametrize("name, plus", [("StyleGAN2", False), ("StyleGAN2", True), ("R3GAN", False)])
def test_files_keep_every_bit(name: str, plus: bool, tmp_path: Path) -> None:
    space = Space(generator(name))
    latents = latents_of(space, 3, plus)
    latents.save(tmp_path / "a.safetensors", space)
    found = latent_files.read([tmp_path / "a.safetensors"], space, tmp_path)
    assert found.points.equal(latents.points) and found.noise.keys() == latents.noise.keys()
    assert all(found.noise[layer].equal(plane) for layer, plane in latents.noise.items())
    assert found.images(space).equal(latents.images(space)) and found.digest() == latents.digest()


def test_w_and_w_plus_with_and_without_noise_go_together(tmp_path: Path) -> None:
    space = Space(generator("StyleGAN2"))
    plain, wide = replace(latents_of(space, 1), noise={}), latents_of(space, 2, plus=True)
    for name, each in (("a", plain), ("b", wide)):
        each.save(tmp_path / name, space)
    found = latent_files.read([tmp_path / "a", tmp_path / "b"], space, tmp_path)
    torch.testing.assert_close(found.images(space), torch.cat([plain.images(space), wide.images(space)]))


def test_interpolations_start_and_end_at_the_latents() -> None:
    space = Space(generator("StyleGAN2"))
    latents = latents_of(space, 3, plus=True)
    frames = between(space, latents, 4)
    assert len(frames) == 2 * 5
    torch.testing.assert_close(frames[[0, 4, 9]], latents.images(space))
    halfway = Latents(latents.points[:2].mean(0, keepdim=True), None,
                      {layer: plane[:2].mean(0, keepdim=True) for layer, plane in latents.noise.items()})
    torch.testing.assert_close(frames[2:3], halfway.images(space))


@pytest.mark.slow
def test_commands_take_files_in_place_of_seeds(tmp_path: Path) -> None:
    run, space = saved("R3GAN", tmp_path / "G.safetensors"), Space(generator("R3GAN"))
    Latents(space.of_seeds([4, 7])).save(tmp_path / "two", space)
    for command, seeds, pictured in ((sample, ["--seeds", "4,7"], "grid.png"),
                                     (interpolate, ["--seeds", "4,7"], "x.png")):
        for name, chosen in (("a", seeds), ("b", ["--latents", str(tmp_path / "two")])):
            out = tmp_path / command.__name__ / name
            assert command.main([str(run), *chosen, "--out", str(out if command is sample else out / "x.png")]) == 0
        assert (picture(out / pictured) == picture(out.with_name("a") / pictured)).all()


@pytest.mark.parametrize("command, arguments, words", [
    (sample, ["--seeds", "1"], "--latents says what is drawn; leave out --seeds"),
    (sample, ["--psi", "0.5"], "leave out --psi"),
    (interpolate, ["--class", "1"], "leave out --class"),
    (edit, ["--direction", "a=1", "--seeds", "3"], "leave out --seeds"),
    (edit, ["--arithmetic", "1 - 2"], "--latents are moved along directions"),
    (interpolate, [], "at least two latents"),
])
def test_wrong_options(command: object, arguments: list[str], words: str, tmp_path: Path) -> None:
    run, space = saved("R3GAN", tmp_path / "G.safetensors"), Space(generator("R3GAN"))
    Latents(space.of_seeds([4])).save(tmp_path / "one", space)
    with pytest.raises(UsageError, match=words):
        command.main([str(run), "--latents", str(tmp_path / "one"), *arguments])


@pytest.mark.parametrize("damage, words", [
    (lambda path, space: None, "does not exist"),
    (lambda path, space: path.write_text("{}"), "is not a file of latents"),
    (lambda path, space: Latents(space.of_seeds([1]) * torch.nan).save(path, space), "values that are not finite"),
    (lambda path, space: Latents(space.of_seeds([1])[:, :5]).save(path, space), "latents of other weights"),
    (lambda path, space: Latents(space.of_seeds([1]), None, {"8.conv1": torch.ones(1, 1, 8, 8)}).save(path, space),
     "latents of other weights"),
    (lambda path, space: Latents(space.of_seeds([1, 2]), torch.tensor([1])).save(path, space), "differ in number"),
])
def test_damaged_files(damage: object, words: str, tmp_path: Path) -> None:
    space = Space(generator("R3GAN"))
    damage(tmp_path / "x", space)
    with pytest.raises(UserError, match=words):
        latent_files.read([tmp_path / "x"], space, tmp_path)


def test_photos_that_are_not(tmp_path: Path) -> None:
    run = saved("R3GAN", tmp_path / "G.safetensors")
    (tmp_path / "x.jpg").write_text("not a photo")
    for name, words in (("none.jpg", "does not exist"), ("x.jpg", "cannot be read as a photo")):
        with pytest.raises(UserError, match=words):
            project.main([str(tmp_path / name), str(run), "--out", str(tmp_path / "out")])
    photo(tmp_path / "projected.png")
    with pytest.raises(UsageError, match="would be overwritten"):
        project.main([str(tmp_path / "projected.png"), str(run), "--out", str(tmp_path)])
