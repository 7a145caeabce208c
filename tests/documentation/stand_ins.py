"""Tiny runs, data and photos for those that commands of the documentation name, each made when first needed."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sources_made import (
    box,
    cifar_files,
    encoded,
    lsun_records,
    pixels,
    write_files,
    write_folder,
    write_lmdb,
    write_zip,
)
from torch import nn

from scalegan.data.preparing.sources.cifar10 import CLASSES
from scalegan.latents import paint

ATTRIBUTES = ("Smiling", "Male", "Young", "Eyeglasses", "Black_Hair", "Blond_Hair", "Brown_Hair")
FACES = 40
SMALL = ["data.workers=0", "log.tensorboard=false", "snapshot.rows=1", "precision=fp32"]
_BATCH = ["batch_size=8", "micro_batch_size=8", "lanes=1"]
_IMAGE = [*_BATCH, "data.resolution=32", "total_images=16", "model.width=2", "model.d_width=2"]
# Keys by kind of run, on data of these names; from the runs in these pages to a second or two on a core.
RUNS = {
    "gan": ("classes", ["recipe=quickstart", "model.width=4", "batch_size=16", "micro_batch_size=16", "lanes=4",
                        "model.norm_group=4", "data.resolution=32", "total_images=64", "snapshot.every_images=32",
                        "checkpoint.every_images=32", "power_ema={every_images: 16}",
                        "emas={long: {half_life_images: 100}}"]),
    "stylegan2": ("faces", ["recipe=celeba_stylegan2", *_BATCH, "data.resolution=32", "total_images=16",
                            "data.labels=none", "model.channel_base=256", "model.channel_max=8", "model.latent_dim=8",
                            "model.w_dim=8", "model.mapping_layers=2", "model.mbstd_group=4"]),
    "colour": ("photos", ["recipe=colorization_celeba", *_IMAGE, "data.labels=none"]),
    "pix2pix": ("photos", ["recipe=pix2pix_edges", *_IMAGE, "data.labels=none"]),
    "cyclegan": ("photos", ["recipe=cyclegan_faces", *_IMAGE, "streams.B.path=PHOTOS", "data.labels=none",
                            "game.pool=4"]),
    "stargan": ("faces", ["recipe=stargan_celeba", *_IMAGE]),
    "iterative": ("faces", ["recipe=iterative_celeba", *_BATCH, "data.resolution=32", "total_images=16", "game.width=2",
                            "game.hidden=8", "game.norm_group=4"]),
    "larger": ("photos", ["recipe=srgan_photos", *_BATCH, "data.resolution=32", "total_images=16", "model.width=4",
                          "model.blocks=1", "model.d_width=2", "data.labels=none", "game.perceptual_weight=0"]),
    "infogan": ("grey", ["recipe=infogan_mnist", *_BATCH, "total_images=16", "model.width=4", "model.norm_group=4"]),
    "refiner": ("photos", ["recipe=simgan_digits", *_BATCH, "data.resolution=32", "total_images=16", "game.width=4",
                           "streams.real.path=PHOTOS"]),
    "volumes": ("volumes", ["recipe=gan3d_glyphs", *_BATCH, "total_images=16", "game.width=2", "game.norm_group=4"]),
    "rebuilt": ("volumes", ["recipe=vaegan3d_glyphs", *_BATCH, "total_images=16", "game.width=2",
                            "game.norm_group=4"]),
    "words": ("captions", ["recipe=text_emoji", *_BATCH, "total_images=16", "model.width=4", "model.latent_dim=8",
                           "model.norm_group=4"]),
    "autoencoder": ("photos", ["recipe=aae_celeba_latents", *_BATCH, "data.resolution=32", "total_images=16",
                               "model.widths=[4,4,4]", "model.groups=2", "game.hidden=8"]),
    "table": ("table", ["recipe=celeba_dcgan", *_BATCH, "data.labels=vectors", "data.resolution=32", "total_images=16",
                        "model.width=4", "model.norm_group=4"]),
}


class Stub(nn.Module):
    """An extractor of eight features that costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(48, 8, generator=torch.Generator().manual_seed(0)) / 20)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.sin(nn.functional.adaptive_avg_pool2d(images.float(), (4, 4)).flatten(1) @ self.weight)


class World:
    """Makes what commands need below `folder`, each thing once.

    Args:
        call: runs a command, and raises if it fails.
    """

    def __init__(self, folder: Path, call: Callable[..., None]) -> None:
        self.folder, self.call = folder, call

    def source(self, name: str) -> Path:
        """What `scalegan prepare` reads."""
        path = self.folder / "sources" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            _SOURCES[name](path)
        return path

    def data(self, name: str) -> Path:
        """A prepared set of 32 px, or of volumes; NAME_test has other images than NAME."""
        path = self.folder / "data" / name
        if not path.exists():
            kind = name.removesuffix("_test")
            how = {"faces": ["--kind", "celeba", "--crop", "center"], "classes": ["--labels", "class"],
                   "grey": ["--channels", "1", "--labels", "none"],
                   "captions": ["--captions", self.source("captions.jsonl")],
                   "table": ["--conditions", self.source("table.csv")], "volumes": ["--kind", "volumes"]}
            source = {"faces": "celeba", "volumes": "volumes"}.get(kind, "photos") + name.removeprefix(kind)
            self.call("prepare", self.source(source), path, "--resolution", 16 if kind == "volumes" else 32,
                      "--workers", 1, *how.get(kind, ["--labels", "none"]))
        return path

    def run(self, kind: str) -> Path:
        path = self.folder / "runs" / kind
        if not path.exists():
            data, keys = RUNS[kind]
            named = [key.replace("PHOTOS", str(self.data("photos"))) for key in keys]
            self.call("train", *named, *SMALL, f"data.path={self.data(data)}", f"run_dir={path}")
            if kind == "stylegan2":
                self.call("directions", path, "--unsupervised", "sefa")
                _as_if_of_attributes(path / "directions-sefa.safetensors", path / "directions.safetensors")
        return path

    def latent(self) -> Path:
        """Of a photo, in the style-based generator."""
        path = self.folder / "latent"
        if not path.exists():
            self.call("project", self.source("photo.jpg"), self.run("stylegan2"), "--steps", 2, "--out", path)
        return path / "latent.safetensors"

    @cached_property
    def encoder(self) -> Path:
        path = self.folder / "vae.safetensors"
        self.call("export", self.run("autoencoder"), "--format", "autoencoder-kl", "--out", path)
        return path

    @cached_property
    def extractor(self) -> Path:
        path = self.folder / "stub.pt"
        torch.jit.script(Stub()).save(str(path))
        return path


def _as_if_of_attributes(found: Path, named: Path) -> None:
    """Directions under the names of attributes, which `directions --data` would take a minute to find."""
    with safe_open(found, "pt") as file:
        (key, header), = (file.metadata() or {}).items()
    described = json.loads(header)
    described["names"] = [*ATTRIBUTES, *described["names"][len(ATTRIBUTES):]]
    save_file(load_file(found), named, {key: json.dumps(described)})


def _folder(path: Path, first: int = 0, count: int = FACES) -> None:
    for number in range(count):
        file = path / "ab"[number % 2] / f"{number // 2 + 1}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(pixels(first + number)))


def _celeba(path: Path, first: int = 0) -> None:
    write_files(path, dict(_celeba_files(first)))


def _celeba_files(first: int = 0) -> Iterator[tuple[str, bytes]]:
    names = [f"{number + 1:06d}.jpg" for number in range(FACES)]
    for number, name in enumerate(names):
        yield f"img_align_celeba/{name}", encoded(pixels(first + number, 178, 218))
    rows = [f"{name} " + " ".join(" 1" if number >> k & 1 else "-1" for k in range(len(ATTRIBUTES)))
            for number, name in enumerate(names)]
    yield "list_attr_celeba.txt", "\n".join([str(FACES), " ".join(ATTRIBUTES), *rows, ""]).encode()
    yield "list_eval_partition.txt", "".join(f"{name} {n % 3}\n" for n, name in enumerate(names)).encode()
    yield "identity_CelebA.txt", "".join(f"{name} {n // 2}\n" for n, name in enumerate(names)).encode()


def _captions(path: Path) -> None:
    texts = ("red heart", "blue heart", "waving hand dark skin tone", "waving hand light skin tone")
    path.write_text("".join(json.dumps({"file": f"{c}/{n + 1}.jpg", "captions": [texts[n % 4]]}) + "\n"
                            for c in "ab" for n in range(FACES // 2)))


def _table(path: Path) -> None:
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "age", "glasses", "coat"))
        rows.writerows((f"{c}/{n + 1}.jpg", 20 + n, n % 2, ("red", "blue")[n % 2])
                       for c in "ab" for n in range(FACES // 2))


def _arrays(path: Path) -> None:
    path.mkdir()
    for number in range(8):
        np.save(path / f"{number}.npy", np.random.default_rng(number).integers(0, 65536, (64, 64, 8), np.uint16))


def _deep(path: Path) -> None:
    _save(path, (64, 64), np.uint16)


def _transparent(path: Path) -> None:
    _save(path, (64, 64, 4), np.uint8)


def _save(path: Path, shape: tuple[int, ...], kind: type) -> None:
    path.mkdir()
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, np.iinfo(kind).max, shape, kind)
        Image.fromarray(noise).save(path / f"{number}.png")


def _volumes(path: Path, first: int = 0) -> None:
    for number in range(first, first + 16):
        (path / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        np.savez(path / "ab"[number % 2] / f"{number}.npz", voxels=box(number)[0].astype(np.float32) / 255)


def _split(path: Path) -> None:
    for part in ("train", "test"):
        write_folder(path / part, dict.fromkeys(CLASSES, 2), (32, 32))


def _tar(path: Path) -> None:
    import tarfile

    files, folder = cifar_files()[0], path.parent / "cifar"
    write_files(folder, files)
    with tarfile.open(path, "w:gz") as archive:
        for name in files:
            archive.add(folder / name, name)


def _pairs(path: Path) -> None:
    _folder(path / "A")
    shutil.copytree(path / "A", path / "B")


def _zip(path: Path) -> None:
    write_zip(path, {f"{number}.jpg": encoded(pixels(number)) for number in range(4)})


_SOURCES: dict[str, Callable[[Path], object]] = {
    "photos": _folder, "few": lambda path: _folder(path, count=4), "celeba": _celeba,
    "celeba.zip": lambda path: write_zip(path, dict(_celeba_files())),
    "captions.jsonl": _captions, "table.csv": _table, "arrays": _arrays, "deep": _deep, "transparent": _transparent,
    "volumes": _volumes, "split": _split, "cifar.tar.gz": _tar, "pairs": _pairs, "photos.zip": _zip,
    **dict.fromkeys(("bedroom_train_lmdb", "church_outdoor_train_lmdb", "bridge_train_lmdb"),
                    lambda path: write_lmdb(path, lsun_records(12, first=sum(path.name.encode())))),
    "photos_test": lambda path: _folder(path, FACES), "celeba_test": lambda path: _celeba(path, FACES),
    "volumes_test": lambda path: _volumes(path, 16),
    "many": lambda path: write_folder(path, {"a": 60, "b": 60}, (40, 40)),
    "split.zip": lambda path: write_zip(path, {f"{part}/{name}/1.jpg": encoded(pixels(n, 32, 32)) for part in
                                               ("train", "test") for n, name in enumerate(CLASSES)}),
    "many.zip": lambda path: write_zip(path, {f"{n}.jpg": encoded(pixels(n)) for n in range(120)}),
    "photo.jpg": lambda path: path.write_bytes(encoded(pixels(1, 60, 70))),
    "strokes.json": lambda path: path.write_text(paint.EXAMPLE),
}
