"""Moving averages whose length is chosen after training (Karras et al., 2024, "Analyzing and Improving the Training
Dynamics of Diffusion Models", section 3 and appendix C).

A power-function average at t weighs the weights of time s by a multiple of s^gamma: its length is a fixed share of the
run so far, told by sigma_rel, the standard deviation of that density over t. Snapshots of two such averages, stored
throughout the run, suffice to make the average of about any other length afterwards, of the run up to any of its
checkpoints, by least squares.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalegan.averages.ema import Ema
from scalegan.support.files import replacing
from scalegan.support.reading import regular

FOLDER = "averages"
LONGEST = 1 / math.sqrt(12)  # sigma_rel of gamma = 0, the mean of all weights
_KEY = "scalegan"
_EDGES = 20_000


def gamma_of(sigma_rel: float) -> float:
    """The exponent of a density s^gamma on [0, 1] whose standard deviation is sigma_rel.

    sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) is a cubic equation; its one real root above -1.
    """
    inverse = sigma_rel**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class PowerEma(Ema):
    """A power-function average.

    Args:
        network: what is followed.
        sigma_rel: its length relative to the run so far, in (0, 0.28).
    """

    def __init__(self, network: nn.Module, sigma_rel: float) -> None:
        super().__init__(network, 0)
        self.gamma = gamma_of(sigma_rel)

    def decay(self, taken: int, images: int) -> float:
        """(1 - taken / images)^(gamma + 1): each share of all weights then is as the density has it, at any batch."""
        return (1 - taken / images) ** (self.gamma + 1)


def store(folder: Path, images: int, averages: Mapping[float, Mapping[str, Ema]]) -> None:
    """Writes `<folder>/averages/<images>.safetensors`: the parameters of every average, by sigma_rel, then by a prefix
    of their names that tells the network."""
    path = folder / FOLDER / f"{images:012d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensors = {f"{sigma}/{prefix}{name}": tensor.contiguous() for sigma, networks in averages.items()
               for prefix, ema in networks.items() for name, tensor in ema.average.named_parameters()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata={_KEY: json.dumps({"images": images, "sigma_rel": list(averages)})})


def forget_after(folder: Path, images: int) -> None:
    """Removes the snapshots of a future that a resumed run has yet to see."""
    for path in (folder / FOLDER).glob("*.safetensors"):
        if int(path.stem) > images:
            path.unlink()


def reconstruct(folder: Path, images: int, iterations: int, sigma_rel: float,
                newest: Mapping[float, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The parameters of the average of length sigma_rel at a checkpoint, from what is stored up to there.

    Args:
        folder: the run's.
        images, iterations: of the checkpoint.
        newest: the checkpoint's own power-function averages, by their sigma_rel.

    Raises:
        SafetensorError: where a snapshot is damaged.
    """
    files = [path for path in sorted((folder / FOLDER).glob("*.safetensors")) if int(path.stem) < images]
    stored = [(int(path.stem), sigma, path) for path in files for sigma in _lengths(path)]
    known = [(seen, sigma) for seen, sigma, _ in stored] + [(images, sigma) for sigma in newest]
    weights = coefficients(known, (images, sigma_rel), iterations)
    total = {name: 0.0 for name in next(iter(newest.values()))}
    for weight, (_, sigma, path) in zip(weights, stored):
        with safe_open(regular(path), "pt") as file:
            for name in total:
                total[name] = total[name] + weight * file.get_tensor(f"{sigma}/{name}").double()
    for weight, parameters in zip(weights[len(stored):], newest.values()):
        for name in total:
            total[name] = total[name] + weight * parameters[name].double()
    return {name: tensor.float() for name, tensor in total.items()}


def coefficients(known: Sequence[tuple[int, float]], wanted: tuple[int, float], iterations: int) -> np.ndarray:
    """What the known averages, each (images, sigma_rel), are to be multiplied by to give the wanted one.

    Of densities that sum to 1, least squares between their distribution functions, (s / t)^(gamma + 1): the error of
    the average is the sum of their differences times the steps that the weights took. (The paper fits the densities;
    for weights that wander this is up to twice as exact, for weights that drift a thousand times.) It is exact for
    `iterations` equal steps; many of them are taken together.
    """
    edges = np.arange(iterations + 1) * (wanted[0] / iterations)
    edges = edges[np.unique(np.linspace(0, iterations, min(iterations, _EDGES) + 1).round().astype(int))]

    def distribution(images: int, sigma_rel: float) -> np.ndarray:
        return np.minimum(edges / images, 1) ** (gamma_of(sigma_rel) + 1)

    last = distribution(*known[-1])
    others = np.stack([distribution(*average) - last for average in known[:-1]], axis=1)
    found = np.linalg.lstsq(others, distribution(*wanted) - last, rcond=None)[0]
    return np.append(found, 1 - found.sum())


def _lengths(path: Path) -> list[Any]:
    with safe_open(regular(path), "pt") as file:
        return json.loads(file.metadata()[_KEY])["sigma_rel"]
