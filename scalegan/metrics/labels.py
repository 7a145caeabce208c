"""Classes and attributes of two sets are matched by name: under one number, each may have another."""

import copy

import numpy as np

from scalegan.data.preparing.sources.survey import shortened
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.metrics.images import Images


def matched_labels(spec: Spec, images: Images, name: str) -> tuple[np.ndarray, list[str]]:
    """The labels of a labelled set in the numbering of a generator called `name`, int64 [N] or uint8 [N, K]; and what
    there is to say about them. Those of the set itself if the generator takes none.

    Raises:
        UserError: if the set's labels are of another kind, or it has a class, or lacks an attribute, that the generator
            knows by name; or, where the generator keeps no names, another number of them.
    """
    table, known, own = images.labels, spec.label_names, images.classes
    if not (spec.classes or spec.attributes):
        return table, []
    kind = "attributes" if spec.multilabel else "classes"
    if table.ndim != 1 + spec.multilabel or (not known and spec.num_classes != len(own)):
        raise UserError(f"{name} is conditioned by {spec.num_classes} {kind}, and {images.name} has {len(own)} of kind "
                        f"{'class' if table.ndim == 1 else 'attributes'}; give the data that it learnt from")
    if not known:
        return table, [f"{name} keeps no names of its {kind}; they are taken to be in the order of {images.name}: "
                       f"{shortened(own)}"]
    needed, offered = (known, own) if spec.multilabel else (_present(table, own), known)
    if missing := [one for one in needed if one not in offered]:
        lacks, has = (images.name, name) if spec.multilabel else (name, images.name)
        raise UserError(f"{has} has the {kind} {shortened(missing)}, which {lacks} does not know; {name} has "
                        f"{shortened(known)}, and {images.name} has {shortened(own)}: give data whose {kind} have the "
                        "same names")
    if spec.multilabel:
        return (table if known == own else table[:, [own.index(one) for one in known]]), []
    unseen = [one for one in known if one not in set(needed)]
    remarks = [f"{images.name} has no images of {shortened(unseen)}, so {name} draws none either"] if unseen else []
    return renumbered(table, own, known), remarks


def relabelled(images: Images, spec: Spec, name: str) -> Images:
    """The same images with labels in the numbering of a generator called `name`; see `matched_labels`."""
    if images.labels is None:
        return images
    images = copy.copy(images)
    images.labels, _ = matched_labels(spec, images, name)
    return images


def renumbered(numbers: np.ndarray, names: tuple[str, ...], others: tuple[str, ...]) -> np.ndarray:
    """Class numbers of one set, int64 [N], as the numbers that another has for classes of the same names; -1 for those
    that it does not have. Unchanged where one of them knows no names."""
    if not names or not others or names == others:
        return numbers
    places = {name: number for number, name in enumerate(others)}
    return np.array([places.get(name, -1) for name in names], np.int64)[numbers]


def check_common(fakes: Images, reals: Images) -> None:
    """Raises a UserError that names both sets' classes if they have none in common."""
    if fakes.classes and reals.classes and not set(fakes.classes) & set(reals.classes):
        raise UserError(f"{fakes.name} has the classes {shortened(fakes.classes)}, and {reals.name} has "
                        f"{shortened(reals.classes)}: none have the same name; rename them alike")


def name_of(number: int, names: tuple[str, ...]) -> str:
    """What a class is called; its number where there are no names."""
    return names[number] if names else str(number)


def _present(table: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The classes that images have."""
    return [names[number] for number in np.unique(table).tolist()]
