"""R1 and R2 by finite differences: D at a sample and at its noisy copy, and no second derivatives.

For e ~ N(0, I), E ((D(x + sigma e) - D(x)) / sigma)^2 tends to |grad D(x)|^2 as sigma tends to 0; it is how adversarial
training of diffusion models approximates R1 (Lin et al., 2025, "Diffusion Adversarial Post-Training", section 3.4).
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scalegan import penalties
from scalegan.games.base import Batch, Game
from scalegan.games.penalties import DiscriminatorPass, Penalty, Side
from scalegan.losses import Terms
from scalegan.models.layers.dropout import Keyed, drawn_from
from scalegan.models.layers.half import half_dtype, without_autocast
from scalegan.models.layers.tracked import NothingObserved
from scalegan.schedules import Moving, at

# Below this, a half-precision D is run in full precision: its rounding, divided by sigma and squared, would outweigh
# the difference (in bf16 five to seven times at 0.01, 6 % at 0.1).
_HALF_FROM = 0.05
_NAMES = {"real": "r1", "fake": "r2"}
Discriminate = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Probe:
    """How the gradient at one side's samples is approximated.

    Args:
        gamma: weight; the penalty is gamma / 2 times the mean squared difference.
        sigma: standard deviation of the noise, in units of the samples.
        antithetic: compare x + sigma e with x - sigma e instead of x: exact for quadratic D, at one more pass.
        share: share of each micro-batch, its first samples, in (0, 1].
        augmented: add the noise after augmentation instead of before.
    """

    gamma: float | Moving
    sigma: float = 0.01
    antithetic: bool = False
    share: float = 1.0
    augmented: bool = False


@dataclass(frozen=True)
class _Points:
    """Where D is compared on one side: images [k, ...] as D sees them, with their conditions; `logits` [k] at `behind`,
    if the main pass has them; the samples' part of the batch."""

    ahead: Tensor
    behind: Tensor
    condition: Tensor | None
    logits: Tensor | None
    part: Batch


class FiniteDifferences(Penalty):
    """gamma / 2 E ((D(x + sigma e) - D(x)) / sigma)^2 on one side or both.

    The augmentation, dropout and spectral norm of both points are the same; noise and difference are in fp32. A D that
    treats samples independently sees all points in one call.

    Args:
        probes: by side, "real" for R1 and "fake" for R2.
        every: for R1 alone: 1 adds it as a term to every update of D; larger values make it a lazy phase.

    Raises:
        ValueError: for a lazy R2.
    """

    needs_whole = frozenset()

    def __init__(self, probes: Mapping[str, Probe], every: int = 1) -> None:
        super().__init__()
        if every > 1 and set(probes) != {"real"}:
            raise ValueError("only R1 can be lazy; set every=1 for R2")
        self.probes, self.every = dict(probes), every
        self.lazy_player = "D" if every > 1 else ""

    def discriminator_terms(self, game: Game, d_pass: DiscriminatorPass) -> Terms:
        if self.every > 1:
            return {}
        return self._terms(game, d_pass.batch, d_pass.discriminator, {name: getattr(d_pass, name)
                                                                      for name in self.probes})

    def lazy_terms(self, game: Game, batch: Batch) -> Terms:
        augmented = game.augmented(batch.reals, batch, "real")
        return self._terms(game, batch, game.compiled["D"], {"real": Side(batch.reals, augmented, batch.labels, None)})

    def _terms(self, game: Game, batch: Batch, discriminator: Discriminate, sides: Mapping[str, Side]) -> Terms:
        points = {name: self._points(game, batch, name, side) for name, side in sides.items()}
        terms = {}
        for name, (ahead, behind) in self._logits(game.D, discriminator, points).items():
            probe = self.probes[name]
            squares = penalties.squared_differences(ahead, behind, probe.sigma * (2 if probe.antithetic else 1))
            terms[_NAMES[name]] = penalties.half_weighted(at(probe.gamma, batch.images) * self.every, squares)
        return terms

    def _points(self, game: Game, batch: Batch, name: str, side: Side) -> _Points:
        probe = self.probes[name]
        count = _count(game.D, len(side.data), probe.share)
        part = batch[:count]
        clean = (side.augmented if probe.augmented else side.data)[:count]
        clean = clean.to(torch.promote_types(clean.dtype, torch.float32))
        noise = probe.sigma * part.draws.normal(f"finite_difference/{name}", *clean.shape[1:]).to(clean.dtype)

        def seen(images: Tensor) -> Tensor:
            return images if probe.augmented else game.augmented(images, part, name)

        behind = seen(clean - noise) if probe.antithetic else side.augmented[:count]
        known = side.logits is not None and not (probe.antithetic or self._in_full(clean) or _random(game.D))
        comparable = _per_sample(game.D) or count == len(side.data)     # not to other samples' neighbours
        return _Points(seen(clean + noise), behind, None if side.condition is None else side.condition[:count],
                       side.logits[:count] if known and comparable else None, part)

    def _logits(self, network: nn.Module, discriminator: Discriminate,
                points: Mapping[str, _Points]) -> dict[str, tuple[Tensor, Tensor]]:
        """D's logits [k] ahead and behind, by side."""
        asked = [(name, place) for name, side in points.items() for place in ("ahead", "behind")
                 if place == "ahead" or side.logits is None]
        images = [getattr(points[name], place) for name, place in asked]
        images = [image.to(images[0].dtype) for image in images]
        conditions = [points[name].condition for name, _ in asked]
        with NothingObserved(), without_autocast(images[0]) if self._in_full(images[0]) else contextlib.nullcontext():
            if _per_sample(network):
                condition = None if conditions[0] is None else torch.cat(conditions)
                parts = discriminator(torch.cat(images), condition).split([len(image) for image in images])
            else:
                parts = []
                for (name, _), image, condition in zip(asked, images, conditions):
                    with drawn_from(points[name].part.draws.of(f"finite_difference/{name}"), network):  # equal masks
                        parts.append(discriminator(image, condition))
        found = dict(zip(asked, parts))
        return {name: (found[name, "ahead"], found.get((name, "behind"), side.logits)) for name, side in points.items()}

    def _in_full(self, images: Tensor) -> bool:
        """Whether D runs without autocast, as its rounding would drown the difference."""
        return half_dtype(images) is not None and min(probe.sigma for probe in self.probes.values()) < _HALF_FROM


def _per_sample(discriminator: nn.Module) -> bool:
    return getattr(discriminator, "per_sample", False)


def _random(discriminator: nn.Module) -> bool:
    """Whether it drops units: their masks are other ones in every call of the main pass."""
    return any(isinstance(module, Keyed) for module in discriminator.modules())


def _count(discriminator: nn.Module, samples: int, share: float) -> int:
    """How many of a micro-batch's samples are taken: a whole number of the groups in which D compares samples."""
    group = 1
    for module in discriminator.modules():
        for name in ("norm_group", "mbstd_group", "group"):
            size = getattr(module, name, 1)
            group = math.lcm(group, samples if size == "batch" else int(size))
    return min(math.ceil(math.ceil(share * samples) / group) * group, samples)
