"""Moving averages whose length is chosen after training (Karras et al., 2024, "Analyzing and Improving the Training
Dynamics of Diffusion Models", section 3 and appendix C).

A power-function average at t weights the parameters of time s in proportion to s^gamma. Its length is a fixed share of
the run so far, given by sigma_rel, the standard deviation of that density divided by t. Snapshots of two such averages,
stored throughout the run, are enough to reconstruct the average of almost any other length at any checkpoint, by least
squares.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalegan.averages.ema import Ema
from scalegan.support.files import replacing
from scalegan.support.reading import DamagedFile, parse_json, regular

FOLDER = "averages"
LONGEST = 1 / math.sqrt(12)  # sigma_rel of gamma = 0, the mean of all weights
_KEY = "scalegan"
_EDGES = 20_000
_NAME = re.compile("[0-9]{12,15}")


@dataclass(frozen=True)
class _Header:
    images: Annotated[int, Field(strict=True, ge=1)]
    sigma_rel: list[Annotated[float, Field(strict=True, gt=0.001, lt=LONGEST)]]


def gamma_of(sigma_rel: float) -> float:
    """The exponent of a density s^gamma on [0, 1] whose standard deviation is sigma_rel.

    The one real root above -1 of the cubic equation sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).
    """
    inverse = sigma_rel**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class PowerEma(Ema):
    """A power-function average.

    Args:
        network: to track.
        sigma_rel: length relative to the run so far, in (0, 0.28).
    """

    def __init__(self, network: nn.Module, sigma_rel: float) -> None:
        super().__init__(network, 0)
        self.gamma = gamma_of(sigma_rel)

    def decay(self, taken: int, images: int) -> float:
        """(1 - taken / images)^(gamma + 1), which gives all weights the shares of the density, at any batch size."""
        return (1 - taken / images) ** (self.gamma + 1)


def store(folder: Path, images: int, averages: Mapping[float, Mapping[str, Ema]]) -> None:
    """Writes `<folder>/averages/<images>.safetensors`: the parameters of all averages, by sigma_rel, then by a name
    prefix per network."""
    path = folder / FOLDER / f"{images:012d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensors = {f"{sigma}/{prefix}{name}": tensor.contiguous() for sigma, networks in averages.items()
               for prefix, ema in networks.items() for name, tensor in ema.average.named_parameters()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata={_KEY: json.dumps({"images": images, "sigma_rel": list(averages)})})


def remove_after(folder: Path, images: int) -> None:
    """Removes snapshots from after `images`, which a resumed run will write again."""
    for seen, path in _snapshots(folder):
        if seen > images:
            path.unlink()


def _snapshots(folder: Path) -> list[tuple[int, Path]]:
    """The images of every snapshot, by its name, and its file; oldest first."""
    return sorted((int(path.stem), path) for path in (folder / FOLDER).glob("*.safetensors")
                  if _NAME.fullmatch(path.stem))


def reconstruct(folder: Path, images: int, iterations: int, sigma_rel: float,
                newest: Mapping[float, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Reconstructs the parameters of the average of length sigma_rel at a checkpoint, from the snapshots before it.

    Args:
        folder: the run folder.
        images, iterations: of the checkpoint.
        newest: the checkpoint's own power-function averages, by sigma_rel.

    Raises:
        DamagedFile: if a snapshot is damaged.
    """
    stored = [(seen, sigma, path) for seen, path in _snapshots(folder) if seen < images
              for sigma in _lengths(path, seen)]
    known = [(seen, sigma) for seen, sigma, _ in stored] + [(images, sigma) for sigma in newest]
    weights = coefficients(known, (images, sigma_rel), iterations)
    total = {name: 0.0 for name in next(iter(newest.values()))}
    for weight, (_, sigma, path) in zip(weights, stored):
        for name, tensor in _parameters(path, sigma, next(iter(newest.values()))).items():
            total[name] = total[name] + weight * tensor.double()
    for weight, parameters in zip(weights[len(stored):], newest.values()):
        for name in total:
            total[name] = total[name] + weight * parameters[name].double()
    return {name: tensor.float() for name, tensor in total.items()}


def coefficients(known: Sequence[tuple[int, float]], wanted: tuple[int, float], iterations: int) -> np.ndarray:
    """Coefficients that combine the known averages, each (images, sigma_rel), into the wanted one.

    They sum to 1 and are the least-squares fit of the distribution functions (s / t)^(gamma + 1), because the error of
    the average is the sum of their differences times the steps of the weights. (The paper fits the densities; this fit
    is up to twice as accurate for weights in a random walk, and a thousand times for weights that drift.) Exact for
    `iterations` equal steps, which are grouped if there are many.
    """
    edges = np.arange(iterations + 1) * (wanted[0] / iterations)
    edges = edges[np.unique(np.linspace(0, iterations, min(iterations, _EDGES) + 1).round().astype(int))]

    def distribution(images: int, sigma_rel: float) -> np.ndarray:
        return np.minimum(edges / images, 1) ** (gamma_of(sigma_rel) + 1)

    last = distribution(*known[-1])
    others = np.stack([distribution(*average) - last for average in known[:-1]], axis=1)
    found = np.linalg.lstsq(others, distribution(*wanted) - last, rcond=None)[0]
    return np.append(found, 1 - found.sum())


def _lengths(path: Path, images: int) -> list[float]:
    """The lengths of the averages in a snapshot, which its name says to be of so many images."""
    try:
        with safe_open(regular(path), "pt") as file:
            header = parse_json((file.metadata() or {}).get(_KEY, "nothing"), f"{path}: {_KEY}", _Header)
    except (SafetensorError, OSError) as error:
        raise DamagedFile(f"cannot read {path}: {error}") from error
    if header.images != images:
        raise DamagedFile(f"{path} is of {header.images:,} images: it was renamed")
    return header.sigma_rel


def _parameters(path: Path, sigma: float, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One average of a snapshot: floats of the names and shapes of `like`."""
    try:
        with safe_open(regular(path), "pt") as file:
            found = {name: file.get_tensor(f"{sigma}/{name}") for name in like}
    except (SafetensorError, OSError) as error:
        raise DamagedFile(f"cannot read {path}: {error}") from error
    for name, tensor in found.items():
        if tensor.shape != like[name].shape or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise DamagedFile(f"{path}: {sigma}/{name} has another shape than in the checkpoint, or is not finite")
    return found
