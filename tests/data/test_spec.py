"""Sample specs of every kind, from both JSON formats; and which tensors are channels_last."""

import pytest
import torch
from torch import nn

from scalegan.data.spec import Spec
from scalegan.games.base import Game
from scalegan.training import build

KINDS = [
    (Spec("points", (2,)), None),
    (Spec("image", (3, 24, 40), classes=5), (torch.long, (7,))),
    (Spec("image", (1, 8, 8), attributes=4), (torch.float32, (7, 4))),
    (Spec("image", (3, 8, 8), vector_dim=6), (torch.float32, (7, 6))),
    (Spec("volume", (1, 6, 8, 10)), None),
    (Spec("latent", (4, 5)), None),
]


@pytest.mark.parametrize("spec, condition", KINDS)
def test_samples_have_the_shapes_it_says(spec: Spec, condition: tuple | None) -> None:
    assert spec.empty(7).shape == (7, *spec.shape) and spec.empty(7).dtype == torch.float32
    given = spec.empty_condition(7)
    assert (given is None) == (condition is None) == (not spec.conditional)
    if condition:
        assert (given.dtype, tuple(given.shape)) == condition
    assert Spec.of(vars(spec) | {"shape": list(spec.shape)}) == spec        # as JSON has it


@pytest.mark.parametrize("task, spec", [
    ({"shape": [2], "num_classes": 0, "multilabel": False}, Spec("points", (2,))),
    ({"shape": [3, 16, 16], "num_classes": 4, "multilabel": False}, Spec("image", (3, 16, 16), classes=4)),
    ({"shape": [3, 16, 16], "num_classes": 4, "multilabel": True}, Spec("image", (3, 16, 16), attributes=4)),
])
def test_format_1_is_read(task: dict, spec: Spec) -> None:
    assert Spec.of(task) == spec


def test_channels_last_is_for_tensors_of_four_axes() -> None:
    game = Game()
    game.plane, game.solid, game.line = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Linear(3, 4)
    game.fixed = {"eye": nn.Conv2d(3, 4, 3)}
    build.on_device(game, torch.device("cpu"))
    for conv in (game.plane, game.fixed["eye"]):
        assert conv.weight.is_contiguous(memory_format=torch.channels_last) and not conv.weight.is_contiguous()
    assert game.solid.weight.is_contiguous() and game.line.weight.is_contiguous()
