"""Image-space filtering: four frequency bands, each amplified independently."""

import numpy as np
import torch
from torch import Tensor

from scalegan.augment.reflection import Taps, constant, convolution, separably
from scalegan.randomness import Draws

STRENGTH = 1.0                         # standard deviation of a gain's log2
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # expected power of natural images in each band (it falls off as 1 / f)

# Symlet 2 (Daubechies, 1992).
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)


def filters() -> np.ndarray:
    """The bands' filters [4, 43] from low to high; their sum is the identity."""
    low = np.array(SYM2)
    high = low * (-1) ** np.arange(len(low))
    low, high = np.convolve(low, low[::-1]) / 2, np.convolve(high, high[::-1]) / 2
    bands = [np.ones(1)]
    for _ in range(3):
        # The bands so far move into the lower half of the spectrum; the upper half becomes a new band.
        spread = [np.convolve(np.insert(band, range(1, len(band)), 0.0), low) for band in bands]
        bands = [*spread, np.pad(high, (len(spread[0]) - len(high)) // 2)]
    return np.stack(bands)


_BANDS = tuple(tuple(band) for band in filters())


def _row(values: tuple[float, ...], size: int) -> np.ndarray:
    return np.array(values)


def _convolutions(bands: tuple[Taps, ...], size: int) -> np.ndarray:
    """The matrix of each band, [4, size, size]."""
    return np.stack([convolution(taps, size) for taps in bands])


def amplify(images: Tensor, draws: Draws, p: float | Tensor) -> Tensor:
    """Scales each band by 2^N(0, 1) with probability p, then all bands so that the expected power is unchanged."""
    chosen = draws.uniform("bands", 4) < p
    gains = torch.where(chosen, (draws.normal("bands", 4) * STRENGTH).exp2(), 1)
    shares = constant(_row, POWER, 4, gains.dtype, gains.device)
    first, second, third, last = (1 + shares * (gains.square() - 1)).unbind(1)
    gains = (gains / (first * second * third * last).sqrt()[:, None]).to(images.dtype)
    matrices = {side: torch.einsum("nb,bij->nij", gains, constant(_convolutions, _BANDS, side, images.dtype,
                                                                  images.device)) for side in images.shape[2:]}
    filtered = separably(*(matrices[side] for side in images.shape[2:]), images)
    return torch.where(chosen.any(1)[:, None, None, None], filtered, images)
