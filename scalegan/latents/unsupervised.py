"""Directions that need no labels: SeFa and GANSpace. Components are named by their number, the strongest first."""

import torch
from torch import Tensor

from scalegan.errors import UserError
from scalegan.latents.space import Space
from scalegan.support.devices import double

_MOST = 20      # components that are kept
_ZERO = 1e-9    # of the largest eigenvalue


def sefa(space: Space) -> dict[str, Tensor]:
    """Eigenvectors [dim] of A^T A by falling eigenvalue, A being the weights by which latents enter the generator: of
    the first layer, or of all styles (Shen & Zhou, 2021, section 3).

    Raises:
        UserError: if the generator does not say what its A is.
    """
    weights = _weights(space)
    return _numbered(_principal(weights.T @ weights))


def ganspace(space: Space, points: Tensor) -> dict[str, Tensor]:
    """Principal components [dim] of w, or those of the first layer's activations, taken back to z by linear regression
    (Härkönen et al., 2020, sections 2.1 and 2.2).

    Args:
        points: of many samples [n, dim].

    Raises:
        UserError: as `sefa`, for other than style-based generators.
    """
    centred = double(points) - double(points).mean(0)
    if space.styled:
        return _numbered(_principal(centred.T @ centred))
    # Activations are A z. With A = QR, those of R z have the same coordinates along their principal components.
    activations = centred @ torch.linalg.qr(_weights(space), mode="r").R.T
    coordinates = activations @ _principal(activations.T @ activations)[:, :_MOST]
    return _numbered(torch.linalg.lstsq(coordinates, centred).solution.T)


def _weights(space: Space) -> Tensor:
    """A, float64 [features, dim]."""
    if not hasattr(space.generator, "latent_weights"):
        raise UserError(f"network '{space.generator.about['network']}' does not say by which weights its latents enter "
                        "(`latent_weights`), which --unsupervised needs; use --data with labelled images")
    return double(space.generator.latent_weights())


def _principal(square: Tensor) -> Tensor:
    """The eigenvectors of a symmetric matrix, as columns by falling eigenvalue; without those of eigenvalue 0."""
    values, vectors = torch.linalg.eigh(square)
    return vectors[:, values > _ZERO * values.max()].flip(1)


def _numbered(columns: Tensor) -> dict[str, Tensor]:
    """The first columns by their number, each with the sign that makes its largest coordinate positive: that of an
    eigenvector is arbitrary."""
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))
    return {str(number): column for number, column in enumerate((columns * largest.sign()).T[:_MOST])}
