"""From which label of its source each label of a run begins (`init_classes`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from scalegan.config import Recipe
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.games.lookup import game_of
from scalegan.support.names import did_you_mean

Label = int | str
#: `init_classes`: for each label of the run the source's, in order; or for those that have one.
Given = Sequence[Label | None] | Mapping[Label, Label | None]


@dataclass(frozen=True)
class LabelRows:
    """Which rows of tensors with a row per label are copied.

    Args:
        own, theirs: numbers of the run's labels, and of those of the source that they begin with.
        axes: by player, the tensors that have such rows, and the axis along which these lie.
    """

    own: tuple[int, ...]
    theirs: tuple[int, ...]
    axes: Mapping[str, Mapping[str, int]]


def of_recipe(recipe: Recipe, specs: Mapping[str, Spec], spec: Spec, names: Sequence[str], count: int) -> LabelRows:
    """The rows that `init_classes` chooses.

    Args:
        specs: of the run's streams; spec: the one whose labels are meant.
        names: of the source's labels, if known; count: how many it has.

    Raises:
        RecipeError: if either has no such labels.
    """
    own, theirs = pairs(recipe.init_classes, (spec.label_names, spec.num_classes), (names, count))
    return LabelRows(own, theirs, axes(recipe, specs))


def pairs(given: Given, ours: tuple[Sequence[str], int], theirs: tuple[Sequence[str], int],
          ) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the run's labels that begin with others, and of those others.

    Args:
        ours, theirs: names of the labels, as far as they are known, and how many there are.

    Raises:
        RecipeError: if one is missing or is named twice, or a list does not have as many as the run has labels.
    """
    for whose, (_, count), remedy in (("this run", ours, "set data.labels"), ("the source", theirs, "leave it out")):
        if not count:
            raise RecipeError(f"init_classes: {whose} has no classes; {remedy}")
    if not isinstance(given, Mapping):
        if len(given) != ours[1]:
            raise RecipeError(f"init_classes names {len(given)} classes of the source, and the run has {ours[1]}; give "
                              "one for each in order, null for a fresh one, or a mapping such as {0: 3}")
        given = dict(enumerate(given))
    found: dict[int, int] = {}
    for new, old in given.items():
        number = _number(new, *ours, "this run")
        if number in found:
            raise RecipeError(f"init_classes names class {new} of this run twice; name it once")
        if old is not None:
            found[number] = _number(old, *theirs, "the source")
    return tuple(found), tuple(found.values())


def _number(label: Label, names: Sequence[str], count: int, whose: str) -> int:
    if label in names:
        return list(names).index(label)
    number = int(label) if str(label).isdecimal() else None
    if number is None:
        known = f"its classes are {', '.join(names[:10])}{', ...' * (len(names) > 10)}" if names else \
            f"those are not known by name; give a number from 0 to {count - 1}"
        close = did_you_mean(str(label), names)
        raise RecipeError(f"init_classes: {whose} has no class '{label}'{close or f'; {known}'}")
    if number >= count:
        raise RecipeError(f"init_classes: {whose} has no class {number}; give a number from 0 to {count - 1}")
    return number


def axes(recipe: Recipe, specs: Mapping[str, Spec]) -> dict[str, dict[str, int]]:
    """The axis along which each tensor has a row per label: the one that another label makes longer."""
    game, shapes = game_of(recipe.game.name), []
    for more in (0, 1):
        wider = {name: replace(spec, classes=spec.classes and spec.classes + more, label_names=(),
                               attributes=spec.attributes and spec.attributes + more) for name, spec in specs.items()}
        with torch.device("meta"):
            players = game.make(recipe, wider).players
        shapes.append({player: {name: tensor.shape for name, tensor in network.state_dict().items()}
                       for player, network in players.items()})
    return {player: {name: axis for name, shape in tensors.items() if name in shapes[1][player]
                     for axis, (a, b) in enumerate(zip(shape, shapes[1][player][name])) if a != b}
            for player, tensors in shapes[0].items()}
