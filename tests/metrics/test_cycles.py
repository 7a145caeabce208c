"""cycle_l1 against its formula, on one rank and two, and where it has no meaning."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import spawn
from torch import nn

from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError, UserError
from scalegan.games.cyclegan.game import CycleGAN
from scalegan.metrics import cycles, pairs
from scalegan.metrics.samples import Samples

ALONE = Ranks(0, 1, torch.device("cpu"))
COUNT, SIDE = 7, 8


class Drawn:
    """Random images, as evaluations read them."""

    labels = None

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.shape = name, (3, SIDE, SIDE)
        self.pixels = np.random.default_rng(seed).integers(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8)

    def __len__(self) -> int:
        return COUNT

    def read(self, number: int) -> np.ndarray:
        return self.pixels[number]


class Times(nn.Module):
    """x -> a x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a * x


def samples(translates: bool = True) -> Samples:
    """Of two domains of seven images, G_A halves an image and G_B triples it."""
    networks = {"A_to_B": Times(0.5), "B_to_A": Times(3.0)}
    game, inputs = CycleGAN.__new__(CycleGAN), {"A": Drawn("a", 1), "B": Drawn("b", 2)}
    generator = networks["A_to_B"]
    generator.about = {"specs": {name: vars(Spec("image", (3, SIDE, SIDE))) for name in inputs}}
    return Samples(generator, COUNT, (3, SIDE, SIDE), name="runs/x", inputs=inputs, stream="B",
                   cycles=(lambda preview: game.cycles(networks, preview)) if translates else None)


def measured(ranks: Ranks) -> dict[str, float]:
    return cycles.of_cycles(samples(), np.arange(COUNT), 2, ranks, lambda count: None)


def test_it_is_the_mean_distance_to_what_both_translations_make() -> None:
    """Both ways round, an image is multiplied by 1.5: half of its own mean absolute value."""
    own = {name: np.abs(images.pixels / 127.5 - 1).mean() / 2 for name, images in samples().inputs.items()}
    found = measured(ALONE)
    assert found["cycle_l1_A"] == pytest.approx(own["A"], rel=1e-6) != pytest.approx(own["B"], rel=1e-6)
    assert found["cycle_l1_B"] == pytest.approx(own["B"], rel=1e-6)
    assert found["cycle_l1"] == pytest.approx((own["A"] + own["B"]) / 2, rel=1e-6)


@pytest.mark.slow
def test_two_ranks_find_the_same_bits() -> None:
    assert spawn(2, measured) == [measured(ALONE)] * 2


def test_what_does_not_translate_back_is_refused_in_a_line() -> None:
    for other in (samples(translates=False), SimpleNamespace(name="photos")):
        with pytest.raises(UsageError, match="does not translate between two domains and back; use a run of") as raised:
            cycles.check({"cycle_l1"}, other)
        assert "\n" not in str(raised.value)
        cycles.check({"fid"}, other)


def test_images_of_another_size_are_refused_in_a_line() -> None:
    given = samples()
    given.inputs["A"].shape = (3, 16, 16)
    with pytest.raises(UserError, match="a has images of 16 x 16 px, 3 channels, but stream A was trained on 8 x 8"):
        cycles.check({"cycle_l1"}, given)


def test_metrics_of_pairs_are_refused_where_nothing_pairs_the_images() -> None:
    with pytest.raises(UsageError, match="--metrics psnr,ssim: nothing pairs the images of runs/x"):
        pairs.check({"psnr", "ssim", "colourfulness"}, samples(), (3, SIDE, SIDE))
    pairs.check({"colourfulness"}, samples(), (3, SIDE, SIDE))
