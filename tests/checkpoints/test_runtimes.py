"""Networks for other runtimes answer as PyTorch does, for batches of any size, and photos of any size."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import small_games
import small_generators
import torch
from small_generators import generator, saved
from torch import nn

from scalegan.checkpoints import exports, runtimes
from scalegan.commands import export
from scalegan.data.spec import Spec
from scalegan.errors import UsageError, UserError
from scalegan.models.layers.spectral import SpectralWeight

pytestmark = pytest.mark.slow
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `runtimes`")
FAMILIES = ("DCGAN with classes", "BigGAN", "BigGAN-deep", "StyleGAN2", "R3GAN", "AAE")
SUFFIXES = {"onnx": ".onnx", "torchscript": ".ts", "torch-export": ".pt2"}
PHOTOS = Spec("image", (3, 32, 32))
IMAGE_TO_IMAGE = {
    "U-Net": ({"game": {"name": "pix2pix", "input": "edges"}, "model": {"name": "unet", "width": 2}}, PHOTOS),
    "ResNet": ({"game": {"name": "cyclegan"}, "model": {"name": "resnet_i2i", "width": 2, "blocks": 1},
                "streams": {"B": {"path": "-"}}}, PHOTOS),
    **{name: (keys, next(iter(specs.values()))) for name, (keys, specs) in
       (small_games.COUPLED | small_games.FACES | small_games.VOLUMES).items()
       if name in ("StarGAN", "SRGAN", "PixelDA", "iterative GAN", "3D-GAN")},
}
COLOURS = {"game": {"name": "colorization"}, "model": {"name": "unet", "width": 2}}


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("name", FAMILIES)
def test_generators_of_every_family(name: str, kind: str, tmp_path: Path) -> None:
    network = generator(name)
    assert runtimes.write(network, tmp_path / f"G{SUFFIXES[kind]}", kind) < 1e-5
    assert (tmp_path / f"G{SUFFIXES[kind]}").stat().st_size > 1000


def networks(keys: dict, spec: Spec, path: Path) -> Iterator[nn.Module]:
    yield from exports.load_all(small_games.exported(keys, path / "all.safetensors", spec, 3.0)).values()


@pytest.mark.parametrize("name", IMAGE_TO_IMAGE)
def test_networks_with_other_inputs(name: str, tmp_path: Path) -> None:
    for network in networks(*IMAGE_TO_IMAGE[name], tmp_path):
        for kind in ("torchscript", "onnx") if network.about["network"] in ("G", "A_to_B", "transform") else \
                ("torchscript",):
            assert runtimes.write(network, tmp_path / kind, kind) < 1e-4


@pytest.mark.parametrize("kind", ("torchscript", "torch-export"))
def test_transformers_and_generators_of_texts(kind: str, tmp_path: Path) -> None:
    """Those of `torch-export` are the programs that ONNX files are made of."""
    cases = {"GAT": (small_generators.GAT[0], Spec("image", (3, 16, 16), classes=3))}
    cases |= {name: (keys, *specs.values()) for name, (keys, specs) in small_games.TEXTS.items()}
    for name in ("GAT", "text to image", "with conditioning augmentation"):
        for network in networks(*cases[name], tmp_path):
            assert runtimes.write(network, tmp_path / kind, kind) < 1e-5, name


@pytest.mark.parametrize("make, name, network", [(small_games.coupled, "CoGAN that adapts", "C2"),
                                                 (small_games.volumes, "3D-VAE-GAN", "encode"),
                                                 (small_games.volumes, "3D-VAE-GAN", "rebuild")])
def test_networks_from_images_of_another_shape_than_the_data(make: Callable, name: str, network: str, tmp_path: Path,
                                                             ) -> None:
    game, specs = make(name)
    parts = {player: game.players[player].eval() for player in game.exports[network].players}
    made = game.compose(game.exports[network], list(parts.values())).eval().requires_grad_(False)
    about = exports.described({"game": {"name": name}, "model": {}}, specs, game, images=0, seed=0)
    exports.attach(made, parts, about, network)
    assert runtimes.write(made, tmp_path / "network.ts", "torchscript") < 1e-5


def test_colours_by_torchscript(tmp_path: Path) -> None:
    """ONNX takes half a minute for the bisection of chroma."""
    network, = networks(COLOURS, PHOTOS, tmp_path)
    assert runtimes.write(network, tmp_path / "G.ts", "torchscript") < 1e-4


def test_photos_of_other_sizes_than_the_one_that_was_traced(tmp_path: Path) -> None:
    network = next(networks(*IMAGE_TO_IMAGE["ResNet"], tmp_path))
    runtimes.write(network, tmp_path / "G.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "G.onnx")
    for count, height, width in ((1, 32, 48), (2, 64, 32)):
        photos = torch.rand(count, 3, height, width)
        answer, = session.run(None, {"image": photos.numpy()})
        np.testing.assert_allclose(answer, network(photos).numpy(), atol=1e-4)


def test_files_say_what_they_hold(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = saved("BigGAN", tmp_path / "all.safetensors")
    assert export.main([str(file), "--out", str(tmp_path / "G.onnx")]) == 0
    printed = capsys.readouterr().out
    assert "z, condition -> image (opset 20), differs from PyTorch by " in printed
    said = json.loads(onnxruntime.InferenceSession(tmp_path / "G.onnx").get_modelmeta().custom_metadata_map["scalegan"])
    assert said["inputs"] == ["z", "condition"] and said["model"]["name"] == "biggan" and "recipe" not in said


def test_each_of_several_networks_has_a_file(tmp_path: Path) -> None:
    keys, spec = IMAGE_TO_IMAGE["PixelDA"]
    small_games.exported(keys, tmp_path / "all.safetensors", spec, 3.0)
    assert export.main([str(tmp_path / "all.safetensors"), "--out", str(tmp_path / "da.ts")]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.ts")) == ["da-G.ts", "da-T.ts"]


def test_spectral_normalisation_is_part_of_the_weights() -> None:
    network = generator("BigGAN")
    assert any(isinstance(module, SpectralWeight) for module in network.modules())
    deployed = runtimes.Deployed(network)
    assert not any(isinstance(module, SpectralWeight) for module in deployed.modules())
    z, labels = torch.randn(2, 8), torch.tensor([0, 2])
    assert deployed(z, labels).equal(network(z, labels))


def test_what_differs_from_pytorch_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.Deployed, "forward", lambda self, z: self.network(z) * 1.001)
    (tmp_path / "G.ts").write_bytes(b"the file before")
    with pytest.raises(UserError, match=r"differ by 0\.001 of the largest"):
        runtimes.write(generator("DCGAN"), tmp_path / "G.ts", "torchscript")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the file before"]


@pytest.mark.parametrize("arguments, words", [
    (["--out", "G.onnx", "--format", "torchscript"], "--out G.onnx is not of --format torchscript; name a .ts file"),
    (["--out", "G.tflite"], "--out G.tflite: use .safetensors or .onnx or .ts or .pt2"),
    (["--format", "onnx"], "is an export; name a file to write with --out"),
])
def test_wrong_arguments(arguments: list[str], words: str, tmp_path: Path) -> None:
    file = saved("DCGAN", tmp_path / "all.safetensors")
    with pytest.raises(UsageError, match=re.escape(words)):
        export.main([str(file), *arguments])
