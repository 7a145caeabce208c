"""What the page can do with a run, a checkpoint or an export."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from scalegan.checkpoints import exports, kept
from scalegan.cluster.status import describe
from scalegan.config.game import REAL
from scalegan.data.preparing.embedded import folder_of, is_embedded
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.faces.models import face_model
from scalegan.games.sampling import is_styled, truncates
from scalegan.latents import directions
from scalegan.pictures.translation import turns_images_into_images
from scalegan.support.resolution import parse


@dataclass(frozen=True)
class Abilities:
    """Of one run.

    Args:
        path: as the user wrote it.
        images: real images that it was trained on.
        generates: images or volumes, from seeds.
        network: the name of what generates them, where that is not the game's usual network.
        moves: its samples are images, which can be moved in its latents.
        styled: its generator is style-based.
        truncates: the generator takes psi.
        labels: names of the classes or attributes that samples have; `several` says that one has several.
        texts: "text" if samples are of captions, "condition" if of a table, else empty.
        answers: its networks that turn photos into images.
        sets: names of the labels that those give photos.
        faces: what it does with photos of faces: "recognise", "rebuild", "transform".
        averages: names of its further averages.
        data: the images that it was trained on; empty if they are not at hand.
    """

    path: str
    images: int
    generates: bool = False
    network: str = ""
    moves: bool = False
    styled: bool = False
    truncates: bool = False
    labels: tuple[str, ...] = ()
    several: bool = False
    texts: str = ""
    answers: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    faces: tuple[str, ...] = ()
    averages: tuple[str, ...] = ()
    data: str = ""

    @property
    def name(self) -> str:
        return Path(self.path).name

    def directions(self) -> list[Path]:
        """Files with directions beside it."""
        return directions.beside(Path(self.path))


def of(path: str) -> Abilities:
    """Of a run, a checkpoint or an export.

    Raises:
        UserError: if it is none, or is damaged.
    """
    return _of(path, version(path))


def of_all(paths: Iterable[str]) -> list[Abilities]:
    """Of those that can be read."""
    found = []
    for path in paths:
        with suppress(UserError):
            found.append(of(path))
    return found


@lru_cache(256)
def _of(path: str, version: tuple) -> Abilities:
    networks = exports.load_all(path, standing_batches=0)
    about = next(iter(networks.values())).about
    images = tuple(name for name, network in networks.items() if turns_images_into_images(network))
    sets = next((tuple(networks[name].names) for name in images
                 if "condition" in networks[name].about["export"]["inputs"]), ())
    found = {"path": path, "images": about["images"], "answers": images, "sets": sets, "faces": _faces(path),
             "averages": () if Path(path).is_file() else tuple(about["recipe"].get("emas", ())), "data": _data(about)}
    generator = next((network for network in networks.values() if network.about["export"]["inputs"][0] == "z"), None)
    if generator is None or generator.about["spec"]["kind"] not in ("image", "volume"):
        return Abilities(**found)
    spec, styled = Spec.of(generator.about["spec"]), is_styled(generator)
    encoder = (about.get("labels") or {}).get("encoder") if spec.vector_dim else None
    return Abilities(
        **found, generates=True, network="" if generator.about["network"] == about["default"] else
        generator.about["network"], moves=spec.kind == "image", styled=styled,
        truncates=truncates(generator),
        labels=spec.label_names or tuple(map(str, range(spec.num_classes))), several=spec.multilabel,
        texts="" if not encoder else "condition" if encoder["kind"] == "columns" else "text")


def version(path: str) -> tuple:
    """What changes when a run, a checkpoint or an export gets other weights."""
    return kept.version(Path(path))


def state(path: str) -> str:
    """Where a run folder's training stands, to follow how many images it has seen; empty for other files."""
    if not (Path(path) / "config.yaml").is_file():
        return ""
    found = describe(Path(path))
    total = f" of {found['total_images']:,}" if found["total_images"] else ""
    return f"{total}, {found['state']}"


def _data(about: Mapping[str, Any]) -> str:
    """A path in a recipe is not expanded, as the recipe may be someone else's."""
    data, stream = about["recipe"]["data"], about["target"] or next(iter(about["specs"]))
    path = str(data["path"] if stream == REAL else about["recipe"]["streams"].get(stream, {}).get("path") or "")
    if is_embedded(path):
        path = str(folder_of(path, parse(data["resolution"])))
    return path if Path(path).exists() else ""


def _faces(path: str) -> tuple[str, ...]:
    for changes, actions in ((True, ("recognise", "rebuild", "transform")), (False, ("recognise",))):
        with suppress(UserError):
            face_model(Path(path), changes, torch.device("cpu"))
            return actions
    return ()
