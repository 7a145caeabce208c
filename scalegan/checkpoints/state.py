"""The types of a checkpoint's `state.json`, and which checkpoints descend from which. Does not import torch."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictStr
from typing_extensions import TypedDict

from scalegan.support.reading import or_none, read_bytes

Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Nothing = Annotated[dict, Field(max_length=0)]
Metric = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_]+$")]     # becomes part of a link's name
Name = Annotated[StrictStr, Field(max_length=200)]
Row = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]+$")]    # attributes as bits of a hexadecimal number


@dataclass(frozen=True)
class Scale:
    """A phase's loss scale in fp16."""

    scale: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    growth_tracker: Annotated[Count, Field(alias="_growth_tracker")]


@dataclass(frozen=True)
class Best:
    """The best value of a metric, and what it was measured with."""

    value: Finite
    images: Count
    measure: StrictStr


@dataclass(frozen=True)
class Network:
    """A network that can be exported; the fields of `games.base.Export`."""

    players: Annotated[list[StrictStr], Field(min_length=1)]
    inputs: Annotated[list[StrictStr], Field(min_length=1)] = field(default_factory=lambda: ["z"])
    output: StrictStr = "image"
    averaged: StrictBool = True


@dataclass(frozen=True)
class SampleLatents:
    """What the samples of a stream of latents are of; the fields of `data.spec.Latents`."""

    encoder: StrictStr
    decoder: StrictStr
    image: Annotated[list[Annotated[int, Field(strict=True, ge=1, le=1 << 16)]], Field(min_length=3, max_length=3)]
    scale: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    shift: Finite = 0.0
    mirrored: StrictBool = False


@dataclass(frozen=True)
class Samples:
    """The samples of a stream: the fields of `data.spec.Spec`, or its three fields in format 1."""

    shape: Annotated[list[Annotated[int, Field(strict=True, ge=1, le=1 << 16)]], Field(min_length=1, max_length=4)]
    kind: StrictStr | None = None
    classes: Annotated[int, Field(strict=True, ge=0, le=1 << 20)] = 0
    attributes: Annotated[int, Field(strict=True, ge=0, le=1 << 20)] = 0
    vector_dim: Annotated[int, Field(strict=True, ge=0, le=1 << 20)] = 0
    num_classes: Annotated[int, Field(strict=True, ge=0, le=1 << 20)] = 0
    multilabel: StrictBool = False
    latents: SampleLatents | None = None


class Texts(TypedDict):
    """Some of the vectors that describe the data."""

    vectors: StrictStr
    texts: list[StrictStr]
    encoder: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Networks:
    """All networks of a game, as `checkpoints.exports.described` writes them."""

    specs: Annotated[dict[Name, Samples], Field(min_length=1)]
    default: StrictStr
    target: StrictStr
    networks: Annotated[dict[Name, Network], Field(min_length=1)]
    averaged: list[StrictStr]
    prefixes: dict[Name, StrictStr] = field(default_factory=dict)
    labels: list[Count] | list[Row] | Texts | None = None       # averages.label_summary.Summary

    def __post_init__(self) -> None:
        if self.default not in self.networks:
            raise ValueError(f"there is no network '{self.default}', which is the default")
        if self.target and self.target not in self.specs:
            raise ValueError(f"there is no stream '{self.target}', which is the target")
        samples = self.specs[self.target or next(iter(self.specs))]
        if samples.vector_dim and self.labels is not None:
            if not isinstance(self.labels, dict):
                raise ValueError("labels are not vectors")
            return
        if self.labels is not None and not self._labels_fit(samples.classes, samples.attributes):
            raise ValueError(f"labels do not describe {samples.attributes or samples.classes} "
                             f"{'attributes' if samples.attributes else 'classes'}")

    def _labels_fit(self, classes: int, attributes: int) -> bool:
        if attributes:
            return bool(self.labels) and all(isinstance(row, str) and int(row, 16) < 1 << attributes
                                             for row in self.labels)
        return len(self.labels) == classes and all(isinstance(n, int) for n in self.labels) and sum(self.labels) > 0


@dataclass(frozen=True, kw_only=True)
class Header(Networks):
    """An export's description of itself."""

    recipe: dict[str, Any]
    images: Count
    seed: Count = 0
    sigma_rel: Finite | None = None
    standing_statistics: Annotated[int, Field(strict=True, ge=0, le=1 << 20)] = 0
    decoder_groups: Annotated[int, Field(strict=True, ge=1, le=1 << 16)] = 32


@dataclass(frozen=True)
class OldHeader:
    """The description of its generator in an export of format 1."""

    model: dict[str, Any]
    task: Samples
    images: Count
    seed: Count = 0


@dataclass(frozen=True)
class Fork:
    """Where one branch left another: at the checkpoint of `branch` at `images`.

    Attributes:
        resume: the path by which `resume` named that checkpoint; None if the run left it by itself, to roll back.
    """

    branch: Name
    images: Count
    resume: StrictStr | None = None


@dataclass(frozen=True)
class State:
    """`state.json`. Fields with defaults are newer than the first checkpoints, or do not occur in every run."""

    images: Count
    iterations: Count
    updates: dict[Name, Count]
    attempt: Count
    means: dict[Name, tuple[Finite, Count]]
    seconds: Seconds
    recipe: dict[str, Any]
    environment: dict[str, Any]
    scalers: dict[Name, Scale | Nothing] = field(default_factory=dict)
    health: dict[Name, dict[Name, Count]] = field(default_factory=dict)
    best: dict[Metric, Best] = field(default_factory=dict)
    good: StrictBool = False
    evaluation_due: StrictBool = False
    format: Annotated[int, Field(strict=True, ge=1)] = 1
    networks: Networks | None = None
    task: Samples | None = None
    branch: Name | None = None
    forks: list[Fork] = field(default_factory=list)
    shards: list[Name] | None = None

    def __post_init__(self) -> None:
        if self.images and not self.iterations:
            raise ValueError("iterations is 0, but images is not")


@dataclass(frozen=True)
class Lineage:
    """A line of descent: the branch on which a checkpoint was written, and the forks that led there.

    A run stays on its branch when it is killed and resumed, as it then writes what it would have written. It starts a
    new one whenever it does anything else: at `resume=PATH` and rollbacks.
    """

    branch: str
    forks: tuple[Fork, ...] = ()

    @classmethod
    def new(cls) -> "Lineage":
        return cls(uuid.uuid4().hex)

    @classmethod
    def of(cls, path: Path, state: Mapping[str, Any]) -> "Lineage":
        """The line of a checkpoint. One from before lines were recorded is the first on its own branch."""
        if state.get("branch"):
            return cls(state["branch"], tuple(Fork(**fork) for fork in state.get("forks", ())))
        marker = or_none(lambda: read_bytes(path / "COMPLETE")) or b""
        return cls(f"marker-{hashlib.sha256(marker).hexdigest()[:32]}")

    def fork(self, images: int, resume: str | None = None) -> "Lineage":
        """A new branch that leaves this one at `images`."""
        return Lineage(uuid.uuid4().hex, (*self.forks, Fork(self.branch, images, resume)))

    def passes(self, other: "Lineage", images: int) -> bool:
        """Whether this line passes through `other`'s checkpoint at `images`, if it has got that far."""
        return self.branch == other.branch or any(f.branch == other.branch and f.images >= images for f in self.forks)

    def follows(self, other: "Lineage", images: int) -> bool:
        """Whether this line left the checkpoint of `other` at `images` because `resume` named it."""
        # A checkpoint is saved again once an evaluation that was due at it is caught up on. Its last fork is then at
        # its own images, but it is still the checkpoint that was named.
        points = {(other.branch, images), *((f.branch, images) for f in other.forks if f.images == images)}
        return any(f.resume is not None and (f.branch, f.images) in points for f in self.forks)

    def resumed(self, path: str) -> bool:
        """Whether some checkpoint of this line was named in `resume` by this path."""
        return any(f.resume == path for f in self.forks)

    def facts(self) -> dict[str, Any]:
        """Its fields in `state.json`."""
        return {"branch": self.branch, "forks": [asdict(fork) for fork in self.forks]}
