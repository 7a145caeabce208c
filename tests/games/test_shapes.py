"""Images that are not square, or no photos, in every family: an update, pictures, an export, and what it makes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from harness import digest, launch
from PIL import Image

import scalegan
from scalegan.commands import evaluate, export, prepare

SHAPES = {"64x32": (32, 64), "32x96": (96, 32)}         # as users write them; height and width
#: Sets: what `prepare` is asked for, and the channels and bits of what it makes.
SETS = {"64x32, photos": ("photos", "64x32", [], 3, 8), "32x96, photos": ("photos", "32x96", [], 3, 8),
        "32x96, alpha": ("photos", "32x96", ["--alpha", "keep"], 4, 8),
        "64x32, 8 bands": ("bands8", "64x32", ["--channels", "8", "--depth", "16"], 8, 16),
        "32x96, grey": ("bands1", "32x96", ["--channels", "1", "--depth", "16"], 1, 16)}
_GAN = {"name": "gan", "loss": "non_saturating"}
_TINY = {"optimizer": {"default": {"lr": 1e-3}}}
#: By family or game: its keys of a recipe, and the players or streams that it has beside them.
TABLE: dict[str, dict[str, Any]] = {
    "dcgan": {"game": _GAN, "model": {"name": "dcgan", "width": 4, "norm_group": 2},
              "augment": {"name": "ada", "p": 0.6, "target": None}},
    "text_dcgan": {"game": {"name": "text_to_image", "loss": "non_saturating"}, "data": {"labels": "vectors"},
                   "model": {"name": "text_dcgan", "width": 4, "d_width": 4, "text_dim": 4, "norm_group": 2}},
    "mlp": {"game": _GAN, "model": {"name": "mlp", "hidden": 16}},
    "biggan": {"game": _GAN, "model": {"name": "biggan", "width": 8, "norm_group": 2}, "data": {"labels": "class"}},
    "biggan_deep": {"game": _GAN, "model": {"name": "biggan_deep", "width": 8, "norm_group": 2},
                    "data": {"labels": "class"}},
    "stylegan2": {"game": {**_GAN, "penalties": {"r1": {"gamma": 1.0}, "path_length": {"weight": 2}}},
                  "model": {"name": "stylegan2", "latent_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16,
                            "mapping_layers": 2, "mbstd_group": 2}},
    "r3gan": {"game": {"name": "gan", "loss": "relativistic", "penalties": {"r1": {"gamma": 1.0}}},
              "model": {"name": "r3gan", "width": 16, "cardinality": 4, "latent_dim": 8},
              "augment": {"name": "diffaugment"}},
    "energy": {"game": {"name": "gan", "loss": "ebgan"}, "model": {"name": "dcgan", "width": 4, "norm_group": 2}},
    "pix2pix": {"game": {"name": "pix2pix", "input": "edges"}, "model": {"name": "unet", "width": 4, "d_width": 4}},
    "colorization": {"game": {"name": "colorization"}, "model": {"name": "fabbri", "width": 4, "d_width": 4}},
    "cyclegan": {"game": {"name": "cyclegan"}, "model": {"name": "resnet_i2i", "width": 4, "blocks": 1, "d_width": 4}},
    "stargan": {"game": {"name": "stargan"}, "model": {"name": "stargan", "width": 4, "blocks": 1, "d_width": 4},
                "data": {"labels": "class"}},
    "srgan": {"game": {"name": "srgan", "perceptual_weight": 0, "pixel_weight": 1, "pretraining": 0, "crop": None},
              "model": {"name": "srresnet", "scale": 2, "width": 4, "blocks": 1, "d_width": 4, "norm_group": 2}},
    "srgan, crops": {"game": {"name": "srgan", "perceptual_weight": 0, "pixel_weight": 1, "pretraining": 0, "crop": 16},
                     "model": {"name": "srresnet", "scale": 2, "width": 4, "blocks": 1, "d_width": 4, "norm_group": 2}},
    "lapgan": {"game": {"name": "lapgan", "levels": 3, "width": 4, "base_hidden": 16, "latent_dim": 4}},
}
OF_PHOTOS = ("pix2pix", "colorization", "cyclegan", "stargan", "srgan", "srgan, crops")
FROM_IMAGES = ("pix2pix", "colorization", "cyclegan", "stargan", "srgan", "srgan, crops")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Prepared sets of pictures of other shapes, with classes, and with captions."""
    folder, captions = tmp_path_factory.mktemp("shapes"), []
    for number in range(16):
        across = np.linspace(0, 255, 40 + number, dtype=np.uint8)
        photo = np.dstack([np.broadcast_to(across, (50, len(across)))] * 3)
        photo[..., number % 3] = 16 * number
        name = f"{'ab'[number % 2]}/{number:02d}"
        for kind in ("photos", "bands8", "bands1"):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(folder / "photos" / f"{name}.png")
        deep = photo.astype(np.uint16) * 257
        np.save(folder / "bands8" / f"{name}.npy", np.dstack([deep, deep, deep[..., :2]]))
        np.save(folder / "bands1" / f"{name}.npy", deep[..., 0])
        captions.append({"file": name, "caption": f"picture {number}"})
    for name, (source, shape, options, _, _) in SETS.items():
        file, suffix = folder / f"{name}.jsonl", ".png" if source == "photos" else ".npy"
        file.write_text("".join(json.dumps({**one, "file": one["file"] + suffix}) + "\n" for one in captions))
        for labels in ([], ["--captions", str(file)]):
            prepare.main([str(folder / source), str(folder / f"{name}{', captions' * bool(labels)}"), "--resolution",
                          shape, "--workers", "1", *options, *labels])
    yield {path.parent.name: path.parent for path in folder.glob("*/manifest.json")}


def recipe_of(name: str, shape: str, data: Path, folder: Path, **more: object) -> Path:
    """The file of a recipe that makes one update."""
    keys = TABLE[name]
    own = {"path": str(data), "resolution": shape, "workers": 0}
    tree = {**_TINY, **keys, "data": {**own, **keys.get("data", {})}, "batch_size": 4, "lanes": 1, "total_images": 4,
            "micro_batch_size": 4, "run_dir": str(folder / "run"), "precision": "fp32",
            "snapshot": {"every_images": 4, "rows": 2, "columns": 2}, **more}
    if name == "cyclegan":
        tree["streams"] = {"B": {**own}}
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


CASES = [(name, kind) for name in TABLE for kind in SETS if kind.endswith("photos") == (name in OF_PHOTOS)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_family_makes_images_of_any_shape_and_kind(name: str, kind: str, sets: dict[str, Path],
                                                         tmp_path: Path) -> None:
    _, shape, _, channels, depth = SETS[kind]
    (height, width), captioned = SHAPES[shape], name == "text_dcgan"
    launch(1, f"recipe={recipe_of(name, shape, sets[kind + ', captions' * captioned], tmp_path)}")
    run = tmp_path / "run"
    picture = np.array(Image.open(max((run / "samples").glob("*.png"))))
    assert picture.shape[0] >= height and picture.shape[1] >= width

    export.main([str(run), "--out", str(tmp_path / "made.safetensors")])
    network = scalegan.load(tmp_path / "made.safetensors")
    assert network.about["spec"]["shape"] == [channels, height, width] and network.about["spec"]["depth"] == depth
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if name in FROM_IMAGES:
            inputs, scale = 1 if name in ("pix2pix", "colorization") else 3, getattr(network, "scale", 1)
            images = torch.rand(2, inputs, height // scale, width // scale, generator=generator) * 2 - 1
            made = network(images, torch.tensor([0, 1])) if name == "stargan" else network(images)
        else:
            labels = torch.rand(2, network.vector_dim) if captioned else None
            labels = torch.tensor([0, 1]) if "biggan" in name else labels
            made = network(torch.randn(2, network.latent_dim, generator=generator), labels)
            assert made.shape[1] == channels
    assert made.shape[2:] == (height, width) and made.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "worlds"), [
    ("dcgan", "64x32, 8 bands", (1, 2, 4)), ("stylegan2", "32x96, alpha", (1, 4)), ("r3gan", "32x96, grey", (1, 4))])
def test_any_number_of_ranks_gives_the_same_digest(name: str, kind: str, worlds: tuple[int, ...], sets: dict[str, Path],
                                                   tmp_path: Path) -> None:
    found = set()
    for world in worlds:
        (tmp_path / str(world)).mkdir()
        file = recipe_of(name, SETS[kind][1], sets[kind], tmp_path / str(world), micro_batch_size=2, lanes=4,
                         batch_size=8, total_images=16, engine={"reduction": "tree"})
        launch(world, f"recipe={file}")
        found.add(digest(tmp_path / str(world) / "run"))
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in SETS if not kind.endswith("photos")])
def test_images_that_are_no_photos_are_evaluated(kind: str, sets: dict[str, Path], tmp_path: Path,
                                                 capsys: pytest.CaptureFixture) -> None:
    launch(1, f"recipe={recipe_of('dcgan', SETS[kind][1], sets[kind], tmp_path)}")
    evaluate.main([str(tmp_path / "run"), "--metrics", "kid", "--num-samples", "8", "--num-reals", "8"])
    report = json.loads(capsys.readouterr().out)
    assert np.isfinite(report["metrics"]["kid"])
    assert any("channels 1 to 3" in line for line in report["warnings"]) == (SETS[kind][3] > 3)
