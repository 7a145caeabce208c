"""Synthetic data sources: pictures, LMDBs, CelebA's files, CIFAR-10's pickles; and where to find the real ones."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

ATTRIBUTE_NAMES = ("Smiling", "Young", "Eyeglasses")


def real_data(name: str) -> Path:
    """A file of the shared test data; skips the test where it is missing."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SCALEGAN_TEST_DATA") or root.parent / "shared" / "data")
    if not (folder / name).exists():
        pytest.skip(f"{name} is not in {folder}; set SCALEGAN_TEST_DATA to the folder that has it")
    return folder / name


def pixels(number: int, width: int = 40, height: int = 32) -> np.ndarray:
    """A different smooth picture for each number, uint8 [height, width, 3]."""
    generator = np.random.default_rng(number)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def encoded(picture: np.ndarray, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format, **options)
    return buffer.getvalue()


def write_lmdb(path: Path, records: dict[bytes, bytes]) -> Path:
    environment = lmdb.open(str(path), map_size=1 << 28)
    with environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    environment.close()
    return path


def lsun_records(count: int, first: int = 0, format: str = "JPEG") -> dict[bytes, bytes]:
    """Records with opaque 40-character keys, like LSUN's; every third picture is in portrait, the others in landscape
    format."""
    return {f"{(i * 7919 + 13) % 65536:04x}{i:036x}".encode():
            encoded(pixels(i, *((32, 44) if i % 3 == 0 else (44, 32))), format)
            for i in range(first, first + count)}


def write_folder(path: Path, classes: dict[str, int], size: tuple[int, int] = (40, 32)) -> Path:
    """Writes the given number of images per class, named 1.jpg, 2.jpg, ..., so that natural order differs from plain
    sorting."""
    number = 0
    for name, count in classes.items():
        (path / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (path / name / f"{i + 1}.jpg").write_bytes(encoded(pixels(number, *size)))
            number += 1
    return path


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def celeba_files(count: int, newline: str = "\n") -> dict[str, bytes]:
    """A small CelebA: 178 x 218 px, image i has attribute k if bit k of i is set, two images per identity."""
    names = [f"{i + 1:06d}.jpg" for i in range(count)]
    rows = [f"{name} " + " ".join(" 1" if i >> k & 1 else "-1" for k in range(len(ATTRIBUTE_NAMES)))
            for i, name in enumerate(names)]
    texts = {
        "list_attr_celeba.txt": [str(count), " ".join(ATTRIBUTE_NAMES) + " ", *rows],
        "identity_CelebA.txt": [f"{name} {1000 + 7 * (i // 2)}" for i, name in enumerate(names)],
        "list_eval_partition.txt": [f"{name} {i % 3}" for i, name in enumerate(names)],
    }
    images = {f"img_align_celeba/{name}": encoded(pixels(i, 178, 218)) for i, name in enumerate(names)}
    return images | {name: newline.join([*lines, ""]).encode() for name, lines in texts.items()}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def cifar_files(per_batch: int = 4) -> tuple[dict[str, bytes], np.ndarray]:
    """The six batches in the published layout (protocol 2, bytes keys), and the training pixels."""
    files, kept = {}, []
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pictures = np.stack([pixels(100 * number + i, 32, 32) for i in range(per_batch)])
        tree = {b"data": pictures.transpose(0, 3, 1, 2).reshape(per_batch, -1),
                b"labels": [(number + i) % 10 for i in range(per_batch)], b"batch_label": b"made up"}
        files[f"cifar-10-batches-py/{name}"] = pickle.dumps(tree, protocol=2)
        kept += [pictures] if name != "test_batch" else []
    return files, np.concatenate(kept)


def icc_profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC profile."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}
    table, body, begin = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">2I", begin + len(body), len(content))
        body += content
    head = (struct.pack(">I4sI4s4s4s", begin + len(body), b"lcms", 0x04000000, b"mntr", space, b"XYZ ")
            + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp").ljust(68, b"\0") + fixed(*D50)
    return head.ljust(128, b"\0") + table + body


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def rgb_profile(primaries: list[tuple[float, float, float]]) -> bytes:
    """Primaries by their XYZ under D50, and sRGB's tone curve."""
    curve = b"para" + struct.pack(">I2H", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    colours = zip((b"r", b"g", b"b"), primaries)
    return icc_profile(b"RGB ", {name: content for letter, primary in colours for name, content in (
        (letter + b"XYZ", b"XYZ \0\0\0\0" + fixed(*primary)), (letter + b"TRC", curve))})


D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = rgb_profile([(0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)])
LINEAR_GREY = icc_profile(b"GRAY", {b"kTRC": b"para" + struct.pack(">I2H", 0, 0, 0) + fixed(1)})
SRGB = rgb_profile([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)])


def p3_in_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    """What a colour of Display P3 is in sRGB, clipped, by the formula."""
    encoded_p3 = np.array(colour) / 255
    linear = np.where(encoded_p3 <= 0.04045, encoded_p3 / 12.92, ((encoded_p3 + 0.055) / 1.055) ** 2.4)
    linear = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]]) @ linear
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def volume_set(folder: Path, count: int, side: int = 16) -> Path:
    """Writes a shard set of boxes of two classes, flat and tall, one body each."""
    from scalegan.data.manifest import ImageFormat, LabelSchema
    from scalegan.data.preparing.shards import Record, finish, write_shard

    folder.mkdir(parents=True)
    image = ImageFormat(side, 1, "raw", crop="none", kind="volume")
    records = [Record(box(number, side).tobytes(), number % 2) for number in range(count)]
    shard, index = write_shard(folder / "000000.tar", records, 0, "raw")
    finish(folder, [shard], [index], image, LabelSchema("class", ("flat", "tall")), "boxes")
    return folder


def box(number: int, side: int = 16) -> np.ndarray:
    """uint8 [1, side, side, side]: a box, flat if `number` is even, else tall."""
    random = np.random.default_rng(number)
    thin, wide = random.integers(2, side // 4), random.integers(side // 2, side - 2)
    extent = (wide, thin, wide) if number % 2 == 0 else (thin, wide, thin)
    found = np.zeros((1, side, side, side), np.uint8)
    found[0][tuple(slice((side - length) // 2, (side + length) // 2) for length in extent)] = 255
    return found
