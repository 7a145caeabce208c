"""Reads a checkpoint's tensors from the safetensors files that its marker lists, on any number of ranks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scalegan.checkpoints.marker import shards
from scalegan.support.reading import DamagedFile, parse_json

_KEY = "DCP_SHARDING_INFO"      # of torch.distributed.checkpoint: where in the whole tensor a file's part begins


@dataclass(frozen=True)
class _Place:
    saved_offsets: list[Annotated[int, Field(strict=True, ge=0)]]


@dataclass(frozen=True)
class Part:
    """A part of a tensor in one file, and where it begins in the whole."""

    file: Path
    begins: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(begin + length for begin, length in zip(self.begins, self.shape))


@dataclass
class Stored:
    """A tensor of a checkpoint, not yet read."""

    dtype: torch.dtype
    parts: list[Part] = field(default_factory=list)

    @property
    def shape(self) -> torch.Size:
        return torch.Size(max(lengths) for lengths in zip(*(part.ends for part in self.parts)))


def contents(path: Path) -> dict[str, Stored]:
    """The tensors of a checkpoint, by name.

    Raises:
        DamagedFile: if a file cannot be read, or parts do not make a whole tensor.
    """
    found: dict[str, Stored] = {}
    for file in shards(path):
        try:
            _add_parts(file, found)
        except (OSError, SafetensorError, TypeError) as error:
            raise DamagedFile(f"cannot read {file}: {' '.join(str(error).split())}") from error
    for name, stored in found.items():
        # Parts are slices along one axis. This also keeps a wrong offset from asking for terabytes.
        whole, parts = math.prod(stored.shape), sum(math.prod(part.shape) for part in stored.parts)
        if whole != parts or len({part.begins for part in stored.parts}) < len(stored.parts):
            raise DamagedFile(f"{path}: {name} is not whole: its parts have {parts:,} of {whole:,} elements")
    return found


def _add_parts(file: Path, found: dict[str, Stored]) -> None:
    with safe_open(file, "pt") as opened:
        text = (opened.metadata() or {}).get(_KEY)
        places = parse_json(text, f"{file}: {_KEY}", dict[str, _Place]) if text else {}
        for name in opened.keys():      # noqa: SIM118 -- not a dict
            part = opened.get_slice(name)
            shape, dtype = tuple(part.get_shape()), _DTYPES.get(part.get_dtype())
            begins = tuple(places[name].saved_offsets) if name in places else (0,) * len(shape)
            stored = found.setdefault(name, Stored(dtype))
            if dtype is None or stored.dtype != dtype or len(begins) != len(shape) or (
                    stored.parts and len(stored.parts[0].shape) != len(shape)):
                raise DamagedFile(f"{file}: {name} has another type or number of dimensions than it was saved with")
            stored.parts.append(Part(file, begins, shape))


def read(wanted: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Reads tensors to the CPU. Raises DamagedFile if a file cannot be read."""
    tensors = {name: torch.empty(stored.shape, dtype=stored.dtype) for name, stored in wanted.items()}
    by_file: dict[Path, list[tuple[str, Part]]] = {}
    for name, stored in wanted.items():
        for part in stored.parts:
            by_file.setdefault(part.file, []).append((name, part))
    for file, parts in by_file.items():
        try:
            with safe_open(file, "pt") as opened:
                for name, part in parts:
                    place = tuple(slice(begin, end) for begin, end in zip(part.begins, part.ends))
                    tensors[name][place].copy_(opened.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise DamagedFile(f"cannot read {file}: {' '.join(str(error).split())}") from error
    return tensors


_DTYPES = {"F16": torch.float16, "F32": torch.float32, "F64": torch.float64, "BF16": torch.bfloat16, "I8": torch.int8,
           "U8": torch.uint8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64, "BOOL": torch.bool}
