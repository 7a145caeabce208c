"""Which labels StarGAN learns, and how an image's labels become those that it should have."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.support.names import did_you_mean

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")      # of CelebA; nobody has two


def columns(spec: Spec, attributes: Sequence[str]) -> list[int]:
    """The places, among the data's attributes, of those to learn; any if there are no names, as in a plan without data.

    Raises:
        RecipeError: for a name that the data does not have.
    """
    known = spec.label_names
    if not attributes or not known:
        return [place % spec.attributes for place in range(len(attributes) or spec.attributes)]
    for name in attributes:
        if name not in known:
            raise RecipeError(f"game.attributes: the data has no attribute '{name}'{did_you_mean(name, known)}; it has "
                              f"{', '.join(known)}")
    return [known.index(name) for name in attributes]


def with_values(labels: Tensor, names: Sequence[str], values: Mapping[str, float]) -> Tensor:
    """Attributes [n, K] with some of them, by name, set to new values; the others stay, but for hair colours: as in the
    published code, one that is set clears those that are not named.

    Args:
        names: of the K attributes.
    """
    labels = labels.clone()
    if any(values.get(name) for name in HAIR):
        values = dict.fromkeys((name for name in names if name in HAIR), 0.0) | dict(values)
    for name, value in values.items():
        labels[:, names.index(name)] = value
    return labels


def in_turn(labels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Target labels by name, for a picture: each class in turn; or each attribute in turn, a hair colour set, any other
    attribute inverted.

    Args:
        labels: classes [n], or attributes [n, K].
    """
    if labels.dim() == 1:
        return {name: torch.full_like(labels, number) for number, name in enumerate(names)}
    found = {}
    for number, name in enumerate(names):
        found[name] = with_values(labels, names, {name: 1.0})
        if name not in HAIR:
            found[name][:, number] = 1 - labels[:, number]
    return found
