"""The run's picture."""

from types import SimpleNamespace

import pytest
import torch

from scalegan.data.spec import Spec
from scalegan.training.painter import Painter


def painter(records: int) -> Painter:
    """Of 2 x 4 cells, over so many records in batches of 2, whose images and classes are their numbers."""
    def chunk(position: int, lane: int) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = torch.arange(position, position + 2)
        return numbers.to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4), numbers

    source = SimpleNamespace(spec=Spec("image", (1, 4, 4), classes=20), conditions=None, records=SimpleNamespace(
        order=SimpleNamespace(batch_size=2, lanes=1, records=records), chunk=chunk))
    recipe = SimpleNamespace(seed=0, snapshot=SimpleNamespace(rows=2, columns=4))
    return Painter(recipe, None, {"real": source}, torch.device("cpu"))


@pytest.mark.parametrize(("records", "numbers"), [
    pytest.param(20, [0, 1, 2, 3, 4, 5, 6, 7], id="the first of many"),
    pytest.param(6, [0, 1, 2, 3, 4, 5, 0, 1], id="those there are and, as every cell needs one, the first again"),
])
def test_a_picture_has_a_sample_in_every_cell(records: int, numbers: list[int]) -> None:
    sample = painter(records).preview.samples["real"]
    assert sample.condition.tolist() == numbers
    assert ((sample.data[:, 0, 0, 0] + 1) * 127.5).round().tolist() == numbers
