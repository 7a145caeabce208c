"""Matches the classes and attributes of two sets by name: the same number may mean different classes in each."""

import copy

import numpy as np

from scalegan.data.preparing.sources.survey import shortened
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.metrics.images import Images


def matched_labels(spec: Spec, images: Images, name: str) -> tuple[np.ndarray, list[str]]:
    """The labels of a labelled set, renumbered for a generator called `name`, int64 [N] or uint8 [N, K]; and remarks.
    Unchanged if the generator is unconditional.

    Raises:
        UserError: if the set has labels of another kind, a class the generator lacks, or not all of its attributes;
            or another number of labels, if the generator does not record their names.
    """
    table, known, own = images.labels, spec.label_names, images.classes
    if not (spec.classes or spec.attributes):
        return table, []
    kind = "attributes" if spec.multilabel else "classes"
    if table.ndim != 1 + spec.multilabel or (not known and spec.num_classes != len(own)):
        raise UserError(f"{name} is conditioned on {spec.num_classes} {kind}, but {images.name} has {len(own)} "
                        f"{'classes' if table.ndim == 1 else 'attributes'}; use the data it was trained on")
    if not known:
        return table, [f"{name} does not record the names of its {kind}; they are assumed to be in the order of "
                       f"{images.name}: {shortened(own)}"]
    needed, offered = (known, own) if spec.multilabel else (_present(table, own), known)
    if missing := [one for one in needed if one not in offered]:
        lacks, has = (images.name, name) if spec.multilabel else (name, images.name)
        raise UserError(f"{has} has the {kind} {shortened(missing)}, which {lacks} lacks; {name} has "
                        f"{shortened(known)}, and {images.name} has {shortened(own)}: use data whose {kind} have the "
                        "same names")
    if spec.multilabel:
        return (table if known == own else table[:, [own.index(one) for one in known]]), []
    unseen = [one for one in known if one not in set(needed)]
    remarks = [f"{images.name} has no images of {shortened(unseen)}, so none are sampled"] if unseen else []
    return renumbered(table, own, known), remarks


def relabelled(images: Images, spec: Spec, name: str) -> Images:
    """The same images with labels renumbered for a generator called `name`; see `matched_labels`."""
    if images.labels is None:
        return images
    images = copy.copy(images)
    images.labels, _ = matched_labels(spec, images, name)
    return images


def renumbered(numbers: np.ndarray, names: tuple[str, ...], others: tuple[str, ...]) -> np.ndarray:
    """Translates class numbers, int64 [N], from one set's names to another's; -1 for classes that the other lacks.
    Unchanged if either set has no names."""
    if not names or not others or names == others:
        return numbers
    places = {name: number for number, name in enumerate(others)}
    return np.array([places.get(name, -1) for name in names], np.int64)[numbers]


def check_common(fakes: Images, reals: Images) -> None:
    """Raises a UserError that names both sets' classes if they have none in common."""
    if fakes.classes and reals.classes and not set(fakes.classes) & set(reals.classes):
        raise UserError(f"{fakes.name} has the classes {shortened(fakes.classes)}, and {reals.name} has "
                        f"{shortened(reals.classes)}: no name is in both; rename the classes of one")


def name_of(number: int, names: tuple[str, ...]) -> str:
    """The name of a class; its number if there are no names."""
    return names[number] if names else str(number)


def _present(table: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The names of the classes that have images."""
    return [names[number] for number in np.unique(table).tolist()]
