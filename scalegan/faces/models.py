"""What a run knows of a face: the attributes that it sees, and the face with these or with others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.checkpoints.exports import load_all
from scalegan.data.spec import Spec
from scalegan.errors import UsageError


@dataclass(frozen=True)
class FaceModel:
    """Networks for photos of faces; images are [n, C, R, R] in [-1, 1], attributes [n, K] between 0 and 1.

    Args:
        about: what the networks' file says of them.
        recognise: images -> the probability of each attribute.
        change: (images, attributes) -> images of the same faces with them; None if the game has no such network.
        binary: whether `change` has learnt from attributes that are 0 or 1, not from probabilities.
        device: of the networks.
    """

    about: Mapping[str, Any]
    recognise: Callable[[Tensor], Tensor]
    change: Callable[[Tensor, Tensor], Tensor] | None
    binary: bool
    device: torch.device

    @property
    def names(self) -> tuple[str, ...]:
        return names_of(self.about)

    @torch.inference_mode()
    def recognised(self, images: Tensor) -> Tensor:
        """The probability of each attribute."""
        return self.recognise(images.to(self.device)).float().cpu()

    @torch.inference_mode()
    def changed(self, images: Tensor, attributes: Tensor) -> Tensor:
        """The same faces with attributes; those that `recognised` found rebuild them."""
        return self.change(images.to(self.device), attributes.to(self.device)).float().cpu()

    def rebuilding(self, probabilities: Tensor) -> Tensor:
        """The attributes with which a face is rebuilt, from those recognised."""
        return (probabilities > 0.5).float() if self.binary else probabilities


def face_model(run: Path, changes: bool, device: torch.device) -> FaceModel:
    """The networks of a run, checkpoint or export that recognise faces, and change them if `changes`.

    Raises:
        UserError: if it has none, is missing or damaged.
    """
    networks = load_all(run, standing_batches=0)
    about = next(iter(networks.values())).about
    check_attributes(run, about)
    game = about["recipe"]["game"]["name"]
    if game == "iterative":
        # All hold what recognises, the last two also what changes.
        whole = _first(networks, ["rebuild", "transform"], run, "transform") if changes else \
            _first(networks, ["recognise", "encode", "rebuild", "transform"], run, "recognise")
        whole.to(device)
        return FaceModel(about, lambda images: whole.both(images)[0], whole, False, device)
    if game == "stargan" or (game == "acgan" and not changes):
        classifier = _first(networks, ["C"], run, "" if changes else "C").to(device)
        translator = _first(networks, ["G"], run, "").to(device) if changes else None
        return FaceModel(about, lambda images: classifier(images).sigmoid(), translator, True, device)
    what, others = ("change", "or stargan") if changes else ("recognise", "stargan or acgan")
    raise UsageError(f"{run} is of game.name={game}, which does not {what} photos; give a run of game.name=iterative, "
                     f"{others}")


def _first(networks: Mapping[str, nn.Module], fitting: Sequence[str], run: Path, remedy: str) -> nn.Module:
    """The first network there is. Raises UsageError that says which file to make instead of one without any."""
    found = next((networks[name] for name in fitting if name in networks), None)
    if found is None:
        raise UsageError(f"{run} holds {', '.join(networks)}, not '{remedy or fitting[0]}'; make another file of its "
                         f"run with `scalegan export RUN{f' --network {remedy}' if remedy else ''}`")
    return found


def names_of(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the attributes that a network knows, or their numbers where it does not say names."""
    spec = about["spec"]
    named = about["recipe"]["game"].get("attributes") or spec["label_names"]
    return tuple(named) or tuple(map(str, range(spec["attributes"])))


def check_attributes(run: Path, about: Mapping[str, Any]) -> None:
    """Raises UsageError for networks of anything but images with attributes."""
    spec = Spec.of(about["spec"])
    if spec.kind != "image" or not spec.multilabel:
        raise UsageError(f"{run} has {'classes, not attributes' if spec.classes else 'no attributes'}; give a run with "
                         "data.labels=attributes, such as of recipe=iterative_celeba")
