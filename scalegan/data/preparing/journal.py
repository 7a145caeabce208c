"""What `scalegan prepare` records in DEST: a set's settings and keys. Calls with other ones are refused."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, PositiveInt, StrictBool, StrictStr
from typing_extensions import TypedDict

from scalegan.data.manifest import ImageFormat
from scalegan.data.preparing.plan import Plan
from scalegan.data.preparing.shard_job import WORK
from scalegan.errors import UserError
from scalegan.support.files import own_name, write_whole
from scalegan.support.reading import DamagedFile, read_json
from scalegan.support.resolution import Resolution, sides_of

RECORD = "prepare.json"
_PLAN = "plan.json"
_LATER = {"depth": 8, "alpha": False, "encoder": ""}        # fields added later, and what was always so


@dataclass(frozen=True)
class Settings:
    """Everything that determines what the shards hold. A call resumes an earlier one only if these are equal."""

    kind: str
    sources: list[str]
    labels: str
    split: str | None
    resolution: Resolution
    crop: str
    filter: str
    encoding: str
    quality: int | None
    channels: int
    only_grey: bool
    validation: float
    shard_records: int
    depth: int = 8
    alpha: bool = False
    encoder: str = ""       # the encoder of latents, their scale, and whether pictures are mirrored, too

    @property
    def noun(self) -> str:
        return "volumes" if self.kind == "volumes" else "images"

    def image(self) -> ImageFormat:
        height, width = sides_of(self.resolution)
        return ImageFormat(height, self.channels, self.encoding, self.quality, self.crop, self.filter,
                           kind="volume" if self.kind == "volumes" else "image",
                           width=None if width == height else width, depth=self.depth, alpha=self.alpha)

    def tree(self) -> dict[str, Any]:
        """The fields for JSON, without those added later where they say what was always so."""
        return {name: value for name, value in asdict(self).items()
                if name not in _LATER or value != _LATER[name]}


class _Begun(TypedDict):
    """Settings that a later call takes over where its options do not say, among others."""

    __pydantic_config__ = ConfigDict(extra="allow")
    only_grey: NotRequired[StrictBool]
    channels: NotRequired[PositiveInt]
    shard_records: NotRequired[PositiveInt]


class _Record(TypedDict):
    """What a call records."""

    settings: _Begun
    keys: StrictStr


def begun(dest: Path) -> dict:
    """The settings of the call that began or finished the set in `dest`; empty if there is none."""
    for path in (dest / RECORD, dest / WORK / _PLAN):
        if path.exists():
            return metadata_of(path)["settings"]
    return {}


def metadata_of(path: Path) -> dict:
    """What an earlier call recorded. Raises UserError if the file is not such a record."""
    try:
        return read_json(path, _Record)
    except (DamagedFile, OSError) as error:
        raise UserError(f"{path} is damaged, or not written by `scalegan prepare` ({error}); its folder can still be "
                        "trained on if it has a manifest.json; to prepare again, use another folder") from error


def is_complete(dest: Path, settings: Settings, before: dict) -> bool:
    """Whether `dest` holds exactly this set. Raises UserError if it holds anything else."""
    if (dest / RECORD).exists():
        _compare(dest, before, settings)
        return True
    foreign = dest.is_dir() and not (dest / WORK).is_dir() and any(dest.iterdir())
    if foreign:
        raise UserError(f"{dest} is not empty and was not written by `scalegan prepare`; use another folder")
    return False


def agree(dest: Path, settings: Settings, plan: Plan) -> None:
    """Records settings and plan before the first shard; later calls must have the same."""
    path, facts = dest / WORK / _PLAN, {"settings": settings.tree(), "keys": plan.fingerprint}
    if not path.exists():
        write_whole(path, json.dumps(facts, indent=1), own_name(path))     # concurrent parts write the same
    before = metadata_of(path)
    _compare(dest, before["settings"], settings)
    if before["keys"] != plan.fingerprint:
        raise UserError(f"the keys or labels of the source have changed since {dest} was begun; use another "
                        "folder")


def _compare(dest: Path, before: dict, settings: Settings) -> None:
    before, now = {**_LATER, **before}, asdict(settings)
    for key in now:
        if before.get(key) != now[key]:
            raise UserError(f"{dest} was begun with {key}={before.get(key)}, but this call has {key}={now[key]}; "
                            "use the same options, or another folder")
