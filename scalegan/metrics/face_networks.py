"""What a game's networks make of photos of faces, for metrics of faces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.errors import UsageError, UserError
from scalegan.metrics.images import Images, described
from scalegan.metrics.labels import matched_labels

_NETWORKS = {"iterative": ("recognise", "rebuild", "transform"), "stargan": ("G", "C"),
             "cyclegan": ("A_to_B", "B_to_A")}
Turns = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Faces:
    """Photos of faces, and a game's networks for them; images are [n, C, H, W] in [-1, 1].

    Args:
        photos: by stream.
        answers: by stream, from photos to images of the same people: rebuilt, or in the other domain.
        recognise: photos -> the probability of each attribute [n, K]; None if the game does not tell.
        transform: photos, attributes [n, K] -> photos with these; None likewise.
        names: of the K attributes.
        attributes: of the photos, 0 or 1, [N, K]; None if the data has none.
    """

    photos: Mapping[str, Images]
    answers: Mapping[str, Turns]
    recognise: Turns | None = None
    transform: Callable[[Tensor, Tensor], Tensor] | None = None
    names: tuple[str, ...] = ()
    attributes: np.ndarray | None = None


def of_game(networks: Mapping[str, nn.Module], photos: Mapping[str, Images], name: str) -> Faces | None:
    """The faces of a loaded run or export that is called `name`; None if its game turns no faces into faces.

    Raises:
        UsageError: if the file lacks some of the game's networks.
        UserError: if the photos have another shape or other labels than those of training.
    """
    about = next(iter(networks.values())).about
    game = about["recipe"]["game"]["name"]
    if game not in _NETWORKS:
        return None
    if missing := [one for one in _NETWORKS[game] if one not in networks]:
        raise UsageError(f"{name} has no network {' or '.join(missing)}, which metrics of faces need; give its run, or "
                         "an export of all its networks")
    specs = {stream: Spec.of(spec) for stream, spec in about["specs"].items()}
    for stream, images in photos.items():
        if images.shape != specs[stream].shape:
            raise UserError(f"{images.name} has images of {described(images.shape)}, but {name} was trained on "
                            f"{described(specs[stream].shape)}; prepare them alike with `scalegan prepare`")
    if game == "cyclegan":
        return Faces(photos, {"A": networks["A_to_B"], "B": networks["B_to_A"]})
    stream, images = next(iter(photos.items()))
    if game == "iterative":
        names, answer = specs[stream].label_names, networks["rebuild"]
        recognise, transform = networks["recognise"], networks["transform"]
    else:
        names, answer, recognise, transform = _of_stargan(networks["G"], networks["C"], specs[stream])
    truth = None if recognise is None else _truth(images, specs[stream], names, name)
    return Faces(photos, {stream: answer}, recognise, transform, names, truth)


def _of_stargan(generator: nn.Module, classifier: nn.Module, spec: Spec) -> tuple:
    """Names, and what rebuilds, recognises and transforms; a photo is rebuilt with the labels that it has already."""
    if not spec.attributes:
        return (), lambda images: generator(images, classifier(images).argmax(1)), None, None
    return (generator.names, lambda images: generator(images, (classifier(images) > 0).float()),
            lambda images: classifier(images).sigmoid(),
            lambda images, attributes: generator(images, (attributes > 0.5).float()))


def _truth(images: Images, spec: Spec, names: tuple[str, ...], name: str) -> np.ndarray | None:
    if images.labels is None:
        return None
    table, _ = matched_labels(spec, images, name)
    known = spec.label_names or images.classes
    return table[:, [known.index(one) for one in names or known]]
