"""Images that are not square, in every family: an update, pictures, an export, and what it makes."""

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
from scalegan.commands import export, prepare

SHAPES = {"64x32": (32, 64), "32x96": (96, 32)}         # as users write them; height and width
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
FROM_IMAGES = ("pix2pix", "colorization", "cyclegan", "stargan", "srgan", "srgan, crops")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A prepared set for each shape, of photos of other shapes, and one with captions."""
    folder = tmp_path_factory.mktemp("shapes")
    captions = "".join(json.dumps({"file": f"{'ab'[number % 2]}/{number:02d}.png", "caption": f"picture {number}"})
                       + "\n" for number in range(16))
    (folder / "captions.jsonl").write_text(captions)
    for number in range(16):
        across = np.linspace(0, 255, 40 + number, dtype=np.uint8)
        photo = np.dstack([np.broadcast_to(across, (50, len(across)))] * 3)
        photo[..., number % 3] = 16 * number
        path = folder / "photos" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(path)
    for shape in SHAPES:
        prepare.main([str(folder / "photos"), str(folder / shape), "--resolution", shape, "--workers", "1"])
        prepare.main([str(folder / "photos"), str(folder / f"{shape}, captions"), "--resolution", shape,
                      "--captions", str(folder / "captions.jsonl"), "--workers", "1"])
    yield {name: folder / name for shape in SHAPES for name in (shape, f"{shape}, captions")}


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


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TABLE)
def test_every_family_makes_images_of_any_shape(name: str, shape: str, sets: dict[str, Path], tmp_path: Path) -> None:
    height, width = SHAPES[shape]
    captioned = name == "text_dcgan"
    launch(1, f"recipe={recipe_of(name, shape, sets[f'{shape}, captions' if captioned else shape], tmp_path)}")
    run = tmp_path / "run"
    picture = np.array(Image.open(max((run / "samples").glob("*.png"))))
    assert picture.shape[0] >= height and picture.shape[1] >= width

    export.main([str(run), "--out", str(tmp_path / "made.safetensors")])
    network = scalegan.load(tmp_path / "made.safetensors")
    assert network.about["spec"]["shape"] == [3, height, width]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if name in FROM_IMAGES:
            channels, scale = 1 if name in ("pix2pix", "colorization") else 3, getattr(network, "scale", 1)
            images = torch.rand(2, channels, height // scale, width // scale, generator=generator) * 2 - 1
            made = network(images, torch.tensor([0, 1])) if name == "stargan" else network(images)
        else:
            labels = torch.rand(2, network.vector_dim) if captioned else None
            labels = torch.tensor([0, 1]) if "biggan" in name else labels
            made = network(torch.randn(2, network.latent_dim, generator=generator), labels)
    assert made.shape[2:] == (height, width) and made.isfinite().all()


@pytest.mark.slow
def test_one_and_two_ranks_give_the_same_digest(sets: dict[str, Path], tmp_path: Path) -> None:
    found = set()
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        file = recipe_of("dcgan", "64x32", sets["64x32"], folder, micro_batch_size=2, lanes=2, total_images=8,
                         engine={"reduction": "tree"})
        launch(world, f"recipe={file}")
        found.add(digest(folder / "run"))
    assert len(found) == 1
