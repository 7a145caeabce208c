"""Directions in a generator's latents, by name, and the files that hold them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalegan.checkpoints import store
from scalegan.checkpoints.listing import run_of
from scalegan.checkpoints.players import last_line
from scalegan.data.preparing.sources.survey import shortened
from scalegan.errors import UsageError, UserError
from scalegan.latents.space import Space
from scalegan.support.files import replacing
from scalegan.support.names import did_you_mean
from scalegan.support.reading import DamagedFile, parse_json, regular

_KEY = "scalegan_directions"
#: How directions are found, in the order in which `beside` lists their files.
KINDS = ("labels", "sefa", "ganspace")
_SUFFIX = {"labels": "", "sefa": "-sefa", "ganspace": "-ganspace"}


@dataclass(frozen=True)
class Header:
    """What a file says of its directions.

    Args:
        names: of the directions.
        space: "z" or "w".
        made_from: a phrase about how they were found.
        digest: of the generator's parameters; `network` is its name among the game's.
        images: real images that it was trained on.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    space: str
    made_from: str
    digest: str
    network: str
    images: int


@dataclass(frozen=True)
class Directions:
    """Directions of one generator.

    Args:
        vectors: of unit length, float32 [K, dim].
        deviations: standard deviations of the latents along them, [K].
    """

    header: Header
    vectors: Tensor
    deviations: Tensor

    def save(self, path: Path) -> None:
        """Writes a safetensors file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"vectors": self.vectors.float().contiguous(), "deviations": self.deviations.float().contiguous()}
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, metadata={_KEY: json.dumps(asdict(self.header))})

    def step(self, name: str, amount: float) -> Tensor:
        """The vector [dim] that moves a point by so many standard deviations of the latents along a direction."""
        number = self.header.names.index(name)
        return amount * self.deviations[number] * self.vectors[number]


def digest_of(generator: nn.Module) -> str:
    """SHA-256 of a loaded generator's parameters. Buffers are left out: BatchNorm's statistics depend on the machine
    that took them."""
    return store.digest({f"{part}/{name}": parameter for part, module in generator.parts.items()
                         for name, parameter in module.named_parameters()})


def of(space: Space, made_from: str, vectors: Mapping[str, Tensor], points: Tensor) -> Directions:
    """Directions of a space's generator.

    Args:
        made_from: a phrase about how they were found.
        vectors: by name, of any length, [dim] each.
        points: of many samples [n, dim], for the standard deviations.
    """
    about = space.generator.about
    header = Header(tuple(vectors), space.name, made_from, digest_of(space.generator), about["network"],
                    about["images"])
    rows = torch.stack(list(vectors.values())).cpu().double()
    rows /= rows.norm(dim=1, keepdim=True)
    return Directions(header, rows.float(), (points.cpu().double() @ rows.T).std(0).float())


def read(path: Path) -> Directions:
    """Reads a file that `save` wrote.

    Raises:
        UserError: if it is anything else.
    """
    try:
        with safe_open(regular(path), "pt") as file:
            header = parse_json((file.metadata() or {})[_KEY], f"its header {_KEY}", Header)
            vectors, deviations = (file.get_tensor(name) for name in ("vectors", "deviations"))
        if vectors.dim() != 2 or deviations.shape != vectors.shape[:1] or len(vectors) != len(header.names):
            raise ValueError("names, vectors and deviations differ in number")
        if not (vectors.isfinite().all() and deviations.isfinite().all()):
            raise ValueError("it has values that are not finite")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (SafetensorError, DamagedFile, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a file that `scalegan directions` wrote ({last_line(error)})") from error
    return Directions(header, vectors, deviations)


def check_fit(directions: Directions, path: Path, space: Space, run: Path) -> None:
    """Raises a UserError if the directions are not those of this run's generator."""
    header, about = directions.header, space.generator.about
    fits = (header.space, directions.vectors.shape[1]) == (space.name, space.dim)
    if fits and header.digest == digest_of(space.generator):
        return
    raise UserError(f"{path} has the directions of other weights (network '{header.network}' at {header.images:,} "
                    f"images) than those of {run} (network '{about['network']}' at {about['images']:,} images); run "
                    f"`scalegan directions {run}` again, or name another file with --directions")


def default_path(run: Path, kind: str) -> Path:
    """Where `scalegan directions` writes: into the run folder, or beside an export."""
    if run.is_file():
        return run.with_name(f"{run.stem}.directions{_SUFFIX[kind]}.safetensors")
    return (run_of(run) or run) / f"directions{_SUFFIX[kind]}.safetensors"


def beside(run: Path) -> list[Path]:
    """The files with directions that lie beside a run or an export."""
    return [path for kind in KINDS if (path := default_path(run, kind)).exists()]


def named(name: str, files: Mapping[Path, Directions]) -> Path:
    """The file, among several, that has a direction of this name.

    Raises:
        UsageError: if none has, or more than one.
    """
    found = [path for path, one in files.items() if name in one.header.names]
    if len(found) > 1:
        raise UsageError(f"--direction {name}: {' and '.join(map(str, found))} both have it; choose one with "
                         "--directions")
    if not found:
        known = [known for one in files.values() for known in one.header.names]
        raise UsageError(f"--direction {name}: there is no such direction{did_you_mean(name, known)}; "
                         f"{' and '.join(map(str, files))} {'has' if len(files) == 1 else 'have'} {shortened(known)}")
    return found[0]
