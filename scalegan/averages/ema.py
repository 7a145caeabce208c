"""Exponential moving averages of weights, with a half-life in images."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.config import Schedule
from scalegan.schedules import at


class Ema:
    """A frozen fp32 copy that tracks a network: weights are averaged, buffers copied.

    Args:
        network: to track.
        half_life_images: images after which a weight's share has halved; 0 copies the weights.
        ramp_up: the half-life is at most this fraction of the images seen (Karras et al., 2020, ADA, appendix B);
            None for no limit.
    """

    def __init__(self, network: nn.Module, half_life_images: float | Schedule, ramp_up: float | None = None) -> None:
        self.network = network
        self.average = copy.deepcopy(network).float().eval().requires_grad_(False)
        self.half_life_images, self.ramp_up = half_life_images, ramp_up
        self.held: dict[str, Any] = {}      # by weight, this rank's part of the average, if it has no more than that
        self.track(dict(self.average.named_parameters()),
                   {name: p for name, p in network.named_parameters() if p.requires_grad})

    def track(self, average: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Sets which tensors of the average follow which weights, by name; the others, of frozen weights, stay as they
        began. The weights themselves, as engines may give them other memory."""
        self._pairs = [(average[name], weight) for name, weight in weights.items()]

    def tensors(self) -> dict[str, Any]:
        """The average's tensors, by their names in a state dict; or this rank's parts of them."""
        return {**self.average.state_dict(), **self.held}

    def decay(self, taken: int, images: int) -> float:
        """The factor of the old average after `taken` images since the last update, `images` in all.

        The half-life is that of the images seen before the iteration, as in the published StyleGAN2 and R3GAN code.
        """
        before = images - taken
        half_life = at(self.half_life_images, before)
        if self.ramp_up is not None:
            half_life = min(half_life, before * self.ramp_up)
        return 0.5 ** (taken / half_life) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, taken: int, images: int) -> None:
        mine, theirs = zip(*self._pairs)
        torch._foreach_lerp_(mine, [t.to(m.dtype) for m, t in zip(mine, theirs)], 1 - self.decay(taken, images))
        if buffers := list(self.average.buffers()):
            torch._foreach_copy_(buffers, list(self.network.buffers()))
