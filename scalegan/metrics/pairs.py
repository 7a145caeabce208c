"""Figures of answers beside the images that they should be, for games from image to image.

psnr: 10 log10(255^2 / MSE) over the channels together, without cutting a border; the mean over the images, of
    which equal ones count as 88 dB.
ssim: Wang et al. (2004), an 11 x 11 Gaussian window of sigma 1.5 where it fits, each channel; the mean.
ab_l1: mean |a* - a*'| and |b* - b*'| in units of CIE-LAB.
colourfulness: Hasler & Suesstrunk (2003): sqrt(var rg + var yb) + 0.3 sqrt(mean rg^2 + mean yb^2); the mean.
high_frequency: variance of the pixels, 0 to 255, at frequencies above half the Nyquist frequency; the mean.
ab_histogram: how much the distributions of a* and of b* over all pixels overlap, the mean of both; 1 if they are equal
    (Isola et al., 2017, section 4.2.1).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from scalegan.data.colour import lab_to_rgb, rgb_to_lab
from scalegan.data.derived import DERIVED, resized
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.engines.ranks import Ranks
from scalegan.errors import UsageError
from scalegan.games.base import Sample
from scalegan.metrics import spectrum, ssim
from scalegan.metrics.images import Reordered
from scalegan.metrics.samples import Samples
from scalegan.support.devices import double

METRICS = ("psnr", "ssim", "ab_l1", "colourfulness", "high_frequency", "ab_histogram")
CONSTANTS = {"psnr": "all channels, no border", "ssim": "11 x 11 Gaussian of 1.5, each channel, no border",
             "high_frequency": "above half the Nyquist frequency, mean over channels", "ab_l1": "CIE-LAB, D65",
             "ab_histogram": "bins of 2 from -110 to 110"}
OF_COLOUR = ("ab_l1", "colourfulness", "ab_histogram")
_BINS, _REACH = 110, 110.0
OF_ONE_IMAGE = ("colourfulness", "high_frequency")      # figures that compare nothing, so that targets have them too
_SUMS = 5       # of psnr, ssim, ab_l1, colourfulness, high_frequency

Figures = dict[str, float]


def check(asked: set[str], samples: object, shape: tuple[int, int, int]) -> None:
    """Raises UsageError if a metric of pairs is asked for where there are none."""
    mine = sorted(asked & set(METRICS))
    if mine and not (isinstance(samples, Samples) and samples.inputs):
        raise UsageError(f"--metrics {','.join(mine)}: {getattr(samples, 'name', 'this')} does not turn images into "
                         "images, and has no answers to compare with what they should be; use other metrics")
    compared = sorted(set(mine) - set(OF_ONE_IMAGE))
    if compared and len(samples.inputs) > 1 and not any(isinstance(one, Reordered) for one in samples.inputs.values()):
        raise UsageError(f"--metrics {','.join(compared)}: nothing pairs the images of {samples.name}, so its answers "
                         "have no true images to compare with; use other metrics, such as kid or cycle_l1")
    colour = sorted(asked & set(OF_COLOUR))
    if colour and shape[0] != 3:
        raise UsageError(f"{', '.join(colour)} need images in colour; leave them out")
    if "ssim" in mine and min(shape[1:]) < 11:
        raise UsageError(f"ssim needs images of 11 px or more, not {shape[2]} x {shape[1]}; leave it out")


def of_pairs(asked: tuple[str, ...], samples: Samples, numbers: np.ndarray, batch_size: int,
             ranks: Ranks, advance: Callable[[int], None]) -> tuple[Figures, Figures, Figures]:
    """Figures of the answers; of the inputs, shown as images, in their place; and those of the targets alone."""
    batches = [numbers[first : first + batch_size] for first in range(0, len(numbers), batch_size)]
    totals = [Totals(samples.shape[0] == 3) for _ in range(3)]

    def share() -> None:
        for batch in batches[ranks.rank :: ranks.world_size]:
            streams = samples.images_of(batch)
            target = streams[samples.stream].data
            for total, images in zip(totals, (from_levels(samples.draw(batch)), _shown(samples, streams), target)):
                total.add(images, target)
            advance(min(ranks.world_size, len(batches)) * len(batch))

    ranks.run_collectively(share)
    answers, inputs, targets = (total.figures(asked, ranks) for total in totals)
    return answers, inputs, {name: value for name, value in targets.items() if name in OF_ONE_IMAGE}


def filters_of(samples: Samples) -> dict[str, str]:
    """Names the filters by which the images of `of_inputs` were reduced and enlarged; empty if they were not."""
    kind = samples.generator.about["export"]["inputs"][0]
    return {"of_inputs": DERIVED[kind].filters} if kind in DERIVED and DERIVED[kind].filters else {}


def _shown(samples: Samples, streams: Mapping[str, Sample]) -> Tensor:
    """The network's input as an image of the target's size: of lightness alone, the grey of that lightness."""
    target, kind = streams[samples.stream].data, samples.generator.about["export"]["inputs"][0]
    if kind not in DERIVED:
        return next(sample.data for name, sample in streams.items() if name != samples.stream).expand_as(target)
    made = DERIVED[kind].make(target)
    if kind == "lightness":
        made = lab_to_rgb(torch.cat([(made + 1) * 50, torch.zeros_like(target[:, 1:])], 1)) * 2 - 1
    if made.shape[2:] != target.shape[2:]:
        made = resized(made, target.shape[2:])
    return made.expand_as(target)


class Totals:
    """Sums over images and histograms over their pixels, of one rank."""

    def __init__(self, colour: bool) -> None:
        self.colour, self.count = colour, 0
        self.sums = torch.zeros(_SUMS, dtype=torch.float64)
        self.histograms = torch.zeros(2, 2, _BINS, dtype=torch.float64)     # of answers and targets, a* and b*

    def add(self, images: Tensor, target: Tensor) -> None:
        self.count += len(images)
        bytes_of, truth = (double(to_uint8(one)) for one in (images, target))
        error = (bytes_of - truth).square().mean((1, 2, 3))
        self.sums[0] += (10 * torch.log10(255**2 / error.clamp(min=1e-4))).sum().cpu()
        if min(images.shape[2:]) >= 11:
            self.sums[1] += ssim.ssim(bytes_of, truth).sum().cpu()
        self.sums[4] += spectrum.high_frequency_power(bytes_of).sum().cpu()
        if self.colour:
            labs = [rgb_to_lab(one / 255)[:, 1:] for one in (bytes_of, truth)]
            self.sums[2] += (labs[0] - labs[1]).abs().mean((1, 2, 3)).sum().cpu()
            self.sums[3] += colourfulness(bytes_of).sum().cpu()
            for side, lab in enumerate(labs):
                for axis in range(2):
                    self.histograms[side, axis] += torch.histc(lab[:, axis].float().cpu(), _BINS, -_REACH, _REACH)

    def figures(self, asked: tuple[str, ...], ranks: Ranks) -> Figures:
        count, sums, histograms = (torch.stack(ranks.all_gather(one)).sum(0) for one in
                                   (torch.tensor(float(self.count)), self.sums, self.histograms))
        means = (sums / count).tolist()
        shares = histograms / histograms.sum(2, keepdim=True).clamp(min=1)
        overlap = torch.minimum(shares[0], shares[1]).sum(1).mean().item()
        found = dict(zip(METRICS, [*means, overlap]))
        return {name: found[name] for name in asked if name in found}


def colourfulness(images: Tensor) -> Tensor:
    """[N] of images [N, 3, H, W] in 0 ... 255 (Hasler & Suesstrunk, 2003, eq. 5 to 7): 0 is grey, 33 moderately
    colourful, 59 quite, 109 extremely."""
    red, green, blue = images.unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1).flatten(2)     # [N, 2, pixels]
    deviation = opponents.var(2, unbiased=False).sum(1).sqrt()
    return deviation + 0.3 * opponents.mean(2).square().sum(1).sqrt()
