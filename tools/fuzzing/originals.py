"""Good files of every kind that ScaleGAN reads: small, and made by the commands that make them where there are any."""

import io
import json
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

RECIPE = """# A run of four updates
data: {path: data, resolution: 16, labels: class, workers: 0, block_records: 8, window_blocks: 2}
model: {name: dcgan, width: 2, latent_dim: 4, norm_group: 8}
game: {name: gan, penalties: {r1: {gamma: 0.5, every: 4}}}
optimizer: {G: {lr: 4e-4}, D: {lr: 4e-4}}
batch_size: 16
micro_batch_size: 8
lanes: 2
seed: 3
precision: fp32
total_images: 64
ema: {half_life_images: 50}
power_ema: {every_images: 16}
log: {every_images: 16, tensorboard: false}
snapshot: {every_images: 64, rows: 1, columns: 2}
checkpoint: {every_images: 32}
"""
_PROFILE = """# A cluster
executor: slurm
partition: gpu
gres: gpu
time_minutes: 60
environment: {NCCL_DEBUG: WARN}
setup: [module load cuda]
sbatch: {mail-type: END}
"""
_HISTORY = [("started", {"nodes": "node1", "ranks": 1}), ("stopped", {"signal": "SIGUSR2", "images": 32}),
            ("requeued", {"because": "timed out", "images": 32}), ("started", {"nodes": "node2", "ranks": 1}),
            ("failed", {"rank": 0, "why": "the disk is full"})]

#: Runs a command line of ScaleGAN in the current folder, which must succeed.
Scalegan = Callable[..., None]


def picture(number: int, format: str, size: tuple[int, int] = (24, 20)) -> bytes:
    from PIL import Image

    coarse = Image.frombytes("RGB", (4, 4), Random(number).randbytes(48))
    buffer = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(buffer, format)
    return buffer.getvalue()


def photos(scalegan: Scalegan) -> None:
    formats = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF", "bmp": "BMP"}
    for number in range(24):
        suffix = list(formats)[number % 6]
        path = Path("photos", "ab"[number // 12], f"{number}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, formats[suffix]))


def shards(scalegan: Scalegan) -> None:
    photos(scalegan)
    scalegan("prepare", "photos", "data", "--resolution", 16, "--encoding", "png", "--shard-records", 8, "--workers", 1)


def beton(scalegan: Scalegan) -> None:
    photos(scalegan)
    scalegan("prepare", "photos", "data", "--resolution", 16, "--format", "ffcv", "--shard-records", 8, "--workers", 1)
    Path("recipe.yaml").write_text(RECIPE.replace("workers: 0", "workers: 1, backend: ffcv"))


def begun(scalegan: Scalegan) -> None:
    """A set of which half is prepared."""
    photos(scalegan)
    scalegan("prepare", "photos", "data", "--resolution", 16, "--shard-records", 8, "--workers", 1, "--part", "1/2")


def run(scalegan: Scalegan) -> None:
    """A finished run, with everything that jobs, evaluations and rollbacks leave in its folder."""
    shards(scalegan)
    Path("recipe.yaml").write_text(RECIPE)
    Path("profile.yaml").write_text(_PROFILE)
    scalegan("train", "recipe=recipe.yaml", "run_dir=run")
    scalegan("evaluate", "run", "--metrics", "fid", "--num-samples", 16, "--standing-statistics", 0)
    scalegan("export", "run", "--out", "export.safetensors")
    job = Path("run/job")
    job.mkdir()
    (job / "job.json").write_text(json.dumps({"executor": "local", "id": "4194304", "log": "run/job/log/1.out"}))
    (job / "profile.yaml").write_text(_PROFILE)
    (job / "history.jsonl").write_text("".join(
        json.dumps({"event": event, "job": "7", "restart": number // 3, "time": 1.7e9 + number, **facts}) + "\n"
        for number, (event, facts) in enumerate(_HISTORY)))
    Path("run/rollbacks.json").write_text(json.dumps([{"from": 48, "to": 64, "attempt": 1}]))
    Path("run/.lease").write_text(f"process 4194304 on {socket.gethostname()}, 3")


def recipes(scalegan: Scalegan) -> None:
    """A recipe with two parents, of which one has a parent."""
    tree = RECIPE.splitlines(keepends=True)
    Path("base.yaml").write_text("".join(tree[:5]))
    Path("middle.yaml").write_text("extends: base\n" + "".join(tree[5:9]))
    Path("other.yaml").write_text("seed: 5\n")
    Path("recipe.yaml").write_text("# Small\nextends: [middle, other]\n" + "".join(tree[9:]))
    Path("profile.yaml").write_text(_PROFILE)


def zips(scalegan: Scalegan) -> None:
    """A folder and a zip in StyleGAN's layout, and a zip of classes."""
    names = [f"00000/img{number:08d}.png" for number in range(12)]
    labels = {"labels": [[name, number % 3] for number, name in enumerate(names)]}
    files = {name: picture(number, "PNG") for number, name in enumerate(names)}
    files["dataset.json"] = json.dumps(labels).encode()
    for name, content in files.items():
        Path("stylegan", name).parent.mkdir(parents=True, exist_ok=True)
        Path("stylegan", name).write_bytes(content)
    with zipfile.ZipFile("stylegan.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with zipfile.ZipFile("classes.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(12):
            archive.writestr(f"train/{'ab'[number % 2]}/{number}.png", picture(number, "PNG"))


def cifar10(scalegan: Scalegan) -> None:
    import numpy as np

    folder = Path("cifar-10-batches-py")
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        data = np.frombuffer(Random(number).randbytes(4 * 3072), np.uint8).reshape(4, 3072)
        tree = {b"data": data, b"labels": [0, 1, 2, number], b"batch_label": b"made up"}
        (folder / name).write_bytes(pickle.dumps(tree, protocol=2))
    with tarfile.open("cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder)


def celeba(scalegan: Scalegan) -> None:
    names = [f"{number + 1:06d}.jpg" for number in range(12)]
    Path("celeba/img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(names):
        Path("celeba/img_align_celeba", name).write_bytes(picture(number, "JPEG", (178, 218)))
    rows = {"list_attr_celeba.txt": ["12", "Smiling Young", *(f"{name} -1  1" for name in names)],
            "identity_CelebA.txt": [f"{name} {1000 + number // 2}" for number, name in enumerate(names)],
            "list_eval_partition.txt": [f"{name} {number % 3}" for number, name in enumerate(names)]}
    for name, lines in rows.items():
        Path("celeba", name).write_text("\n".join([*lines, ""]))


def lsun(scalegan: Scalegan) -> None:
    import lmdb

    environment = lmdb.open("bedroom_train_lmdb", map_size=1 << 22)
    with environment.begin(write=True) as transaction:
        for number in range(40):
            transaction.put(f"{number * 7919 % 65536:040x}".encode(), picture(number, "WEBP"))
    environment.close()


def foreign(scalegan: Scalegan) -> None:
    """pytorch/examples' DCGAN of 16 px in every kind of file."""
    import torch
    from safetensors.torch import save_file

    made, channels = torch.Generator().manual_seed(0), (4, 8, 4, 3)
    state = {}
    for layer, (before, after) in enumerate(pairwise(channels)):
        state[f"main.{3 * layer}.weight"] = torch.randn(before, after, 4, 4, generator=made)
        if after != 3:
            state |= {f"main.{3 * layer + 1}.{leaf}": torch.rand(after, generator=made)
                      for leaf in ("weight", "bias", "running_mean", "running_var")}
            state[f"main.{3 * layer + 1}.num_batches_tracked"] = torch.tensor(7)
    torch.save({"netG": state, "epoch": 3}, "generator.pt")
    torch.save(state, "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, "generator.safetensors")
    Path("generator.pkl").write_bytes(pickle.dumps({"G_ema": state}))


def features(scalegan: Scalegan) -> None:
    """Features of real images in the cache."""
    photos(scalegan)
    scalegan("prepare", "photos", "data", "--resolution", 16, "--encoding", "png", "--workers", 1)
    scalegan("evaluate", "data", "--data", "data", "--metrics", "fid,kid", "--kid-subset-size", 8)
