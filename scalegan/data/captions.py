"""The captions of a set: `captions.safetensors` beside its manifest, with texts, their vectors, and the encoder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from scalegan.errors import UserError
from scalegan.support.files import write_whole
from scalegan.support.reading import DamagedFile, parse_json, regular

FILE = "captions.safetensors"


@dataclass(frozen=True)
class Captions:
    """Texts and their vectors.

    Args:
        texts: in order.
        vectors: float32 [M, dim].
        encoder: description of what made them, as `text_encoders` has it; empty for vectors that are not of texts.
    """

    texts: tuple[str, ...]
    vectors: np.ndarray
    encoder: Mapping[str, Any]

    def content(self) -> bytes:
        """What the file holds; the same for the same captions."""
        said = json.dumps({"texts": self.texts, "encoder": self.encoder}, ensure_ascii=False, sort_keys=True)
        return save({"vectors": np.ascontiguousarray(self.vectors, np.float32),
                     "texts": np.frombuffer(said.encode(), np.uint8)})

    def digest(self) -> str:
        return hashlib.sha256(self.content()).hexdigest()

    def save(self, folder: Path) -> None:
        write_whole(folder / FILE, self.content())


def read(folder: Path, digest: str) -> Captions:
    """Reads a set's captions.

    Raises:
        UserError: if they are missing, damaged, or not those that the manifest names by their digest.
    """
    path = folder / FILE
    try:
        content = regular(path).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("it is not the file that manifest.json names")
        tensors = load(content)
        said = parse_json(tensors["texts"].tobytes().decode(), "its texts")
        return Captions(tuple(said["texts"]), tensors["vectors"], said["encoder"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, DamagedFile) as error:
        raise UserError(f"cannot read {path}: {error}; prepare the data again") from error
