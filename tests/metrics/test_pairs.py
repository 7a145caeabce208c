"""Figures of answers beside their targets, each against its definition."""

import math

import numpy as np
import pytest
import torch
from harness import spawn

from scalegan.data.colour import rgb_to_lab
from scalegan.data.spec import Spec
from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError
from scalegan.metrics import pairs, ssim
from scalegan.metrics.evaluation import METRICS
from scalegan.metrics.generators import samples_of
from scalegan.metrics.pairs import Totals
from scalegan.metrics.spectrum import high_frequency_power

ALONE = Ranks(0, 1, torch.device("cpu"))


def of(images: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    total = Totals(images.shape[1] == 3)
    for part in zip(images.split(2), targets.split(2)):
        total.add(*part)
    return total.figures(pairs.METRICS, ALONE)


def random(count: int = 5, size: int = 16, seed: int = 0) -> torch.Tensor:
    drawn = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed))
    return (drawn - 128).float() / 127.5


def bytes_of(images: torch.Tensor) -> np.ndarray:
    return (images * 127.5 + 128).round().clamp(0, 255).numpy()


def test_psnr_is_the_mean_over_images() -> None:
    target, image = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    image[0] += 10 / 127.5
    image[1] += 20 / 127.5
    expected = np.mean([10 * math.log10(255**2 / 100), 10 * math.log10(255**2 / 400)])
    assert of(image, target)["psnr"] == pytest.approx(expected, rel=1e-6)


def test_ssim_is_one_for_equal_images_and_scikit_images_otherwise() -> None:
    """skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=255) of scikit-image 0.26.0."""
    y, x = np.mgrid[0:24, 0:24].astype(np.float64)
    first, second = 128 + 100 * np.sin(x / 3 + y / 5), 120 + 90 * np.sin(x / 3 + y / 4)
    pair = [torch.from_numpy(one)[None, None] for one in (first, second)]
    assert ssim.ssim(*pair).item() == pytest.approx(0.718529878238022, abs=1e-6)
    assert ssim.ssim(pair[0], pair[0]).item() == pytest.approx(1.0)


def test_ab_l1_and_colourfulness_by_hand() -> None:
    image, target = random(), random(seed=1)
    labs = [rgb_to_lab(torch.from_numpy(bytes_of(one)).double() / 255)[:, 1:] for one in (image, target)]
    found = of(image, target)
    assert found["ab_l1"] == pytest.approx((labs[0] - labs[1]).abs().mean().item(), rel=1e-6)
    each = []
    for red, green, blue in bytes_of(image).astype(np.float64):
        rg, yb = red - green, (red + green) / 2 - blue
        each.append(math.sqrt(rg.std()**2 + yb.std()**2) + 0.3 * math.sqrt(rg.mean()**2 + yb.mean()**2))
    assert found["colourfulness"] == pytest.approx(np.mean(each), rel=1e-6)


def test_grey_images_are_not_colourful_and_equal_colours_overlap_wholly() -> None:
    grey = random()[:, :1].expand(-1, 3, -1, -1)
    assert of(grey, random())["colourfulness"] == 0
    assert of(random(), random())["ab_histogram"] == pytest.approx(1.0)
    shuffled = random().flatten(2)[:, :, torch.randperm(256)].view(5, 3, 16, 16)
    assert of(shuffled, random())["ab_histogram"] == pytest.approx(1.0)     # wherever the colours are
    green, red = torch.full((2, 3, 16, 16), -1.0), torch.full((2, 3, 16, 16), -1.0)
    green[:, 1], red[:, 0] = 1, 1
    assert of(green, red)["ab_histogram"] == 0


def waves(down: float, across: float, size: int = 32) -> torch.Tensor:
    """Waves of 50 grey levels, with so many cycles per pixel."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return (50 * torch.cos(2 * math.pi * down * y) * torch.cos(2 * math.pi * across * x)).expand(1, 3, -1, -1)


@pytest.mark.parametrize("down, across, power", [
    (0.0, 0.0, 0.0), (0.0, 0.1875, 0.0), (0.0, 0.3125, 50**2 / 2), (0.4375, 0.0, 50**2 / 2),
    (0.1875, 0.1875, 50**2 / 4),
], ids=["constant", "slow", "fast across", "fast down", "fast diagonally"])
def test_high_frequencies_are_those_above_half_nyquist_in_any_direction(down: float, across: float,
                                                                        power: float) -> None:
    assert high_frequency_power(waves(down, across)).item() == pytest.approx(power, rel=1e-3, abs=1e-6)


def test_a_slope_has_hardly_any_high_frequency() -> None:
    """Though its periodic continuation has a seam."""
    slope = torch.linspace(0, 255, 64).expand(1, 3, 64, 64)
    assert high_frequency_power(slope).item() < 1e-3 * slope.var().item()


@pytest.mark.parametrize("asked, shape, said", [
    ({"psnr"}, (3, 32, 32), "--metrics psnr: this does not turn images into images"),
])
def test_they_are_refused_where_there_are_no_pairs(asked: set, shape: tuple, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pairs.check(asked, object(), shape)
    pairs.check({"fid"}, object(), shape)


def _two_halves(ranks: Ranks) -> dict[str, float]:
    total = Totals(True)
    part = slice(0, 2) if ranks.rank == 0 else slice(2, 5)
    total.add(random()[part], random(seed=1)[part])
    return total.figures(pairs.METRICS, ranks)


@pytest.mark.slow
def test_two_ranks_find_what_one_finds() -> None:
    whole = of(random(), random(seed=1))
    for found in spawn(2, _two_halves):
        assert found == pytest.approx(whole, rel=1e-9)


def test_evaluate_knows_them() -> None:
    assert set(pairs.METRICS) <= set(METRICS)


class _Numbered:
    """Images whose pixels are their number, as far as samples ask."""

    labels = None

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, number: int) -> np.ndarray:
        return np.full((16, 16, 3), number, np.uint8)


def _translator() -> torch.nn.Module:
    generator = torch.nn.Conv2d(3, 3, 1)
    spec = vars(Spec("image", (3, 16, 16)))
    generator.about = {"spec": spec, "specs": {"target": spec}, "target": "target", "network": "G",
                       "model": {"name": "unet"}, "export": {"inputs": ("image",), "output": "image"}}
    return generator


def test_there_are_no_more_samples_than_images_to_answer() -> None:
    generator = _translator()
    assert len(samples_of(generator, 100, None, inputs={"target": _Numbered(5)})[0]) == 5
    assert len(samples_of(generator, 3, None, inputs={"target": _Numbered(5)})[0]) == 3
    assert len(samples_of(generator, 100, None)[0]) == 100


def test_a_part_of_the_images_is_drawn_from_all_of_them_and_pairs_stay_pairs() -> None:
    """The first ones of a set that is sorted by class would all be of one class."""
    generator = _translator()
    generator.about["specs"]["input"] = generator.about["spec"]
    for count in (20, 200):
        samples, _ = samples_of(generator, count, None, inputs={key: _Numbered(200) for key in ("target", "input")})
        target, given = (((one.data[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
                         for one in samples.images_of(np.arange(count)).values())
        assert target == given == sorted(set(given)) and max(given) > 150
        assert count == 20 or given == list(range(200))
