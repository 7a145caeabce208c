"""SAN's last layer of D, whose direction learns apart from all else (Takida et al., 2024, "SAN: Inducing Metrizability
of GAN with Discriminative Normalized Linear Layer")."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalegan.models.layers.half import wide_dtype, without_autocast


class LastLayer(NamedTuple):
    """What a discriminator's logits are made of: <weights, features> + bias, over the last axis.

    Args:
        features: [N, F], or [N, L, F] of L patches.
        weights: [1, F] or, if they depend on the label, [N, F]; [1, 1, F] or [N, 1, F] of patches.
        bias: [] or [1], or None.
    """

    features: Tensor
    weights: Tensor
    bias: Tensor | None = None


def sliced(discriminator: nn.Module) -> nn.Module:
    """The discriminator itself, with SAN's last layer from now on; names, parameters and state stay as they are.

    Its logits |w| <w / |w|, h> + b keep their value, but their gradient leaves the direction w / |w| alone and trains
    the features h, the scale |w| and the bias b; the direction has logits of its own. As in the published code for
    MNIST, the scale is the norm of w, no parameter beside it: so nothing is to be normalised after a step, and weights
    may be made by spectral norm, an equalised learning rate, or a map of the label.

    Args:
        discriminator: has `last_layer(x, labels)`, a list of `LastLayer`, one for each scale, whose logits are joined.
    """
    kind = type(discriminator)
    discriminator.__class__ = type(f"Sliced{kind.__name__}", (_Sliced, kind), {})     # as torch's parametrizations do
    return discriminator


class _Sliced(nn.Module):
    differentiable = False      # a `with_gradient` would be that of the plain logits

    def forward(self, x: Tensor, labels: Tensor | None = None, directed: bool = False) -> Tensor:
        """Logits [N] or [N, L]; if `directed`, [..., 2]: the same again, which train the direction alone."""
        found = [_logits(layer, directed) for layer in self.last_layer(x, labels)]
        return torch.cat(found, 1) if len(found) > 1 else found[0]


def is_sliced(discriminator: nn.Module) -> bool:
    return isinstance(discriminator, _Sliced)


def _logits(layer: LastLayer, directed: bool) -> Tensor:
    wide = wide_dtype(layer.weights)
    with without_autocast(layer.features):
        features, weights = layer.features.to(wide), layer.weights.to(wide)
        scale = torch.linalg.vector_norm(weights, dim=-1, keepdim=True)
        direction = weights / scale.clamp(min=torch.finfo(wide).tiny)
        logits = (features * (direction.detach() * scale)).sum(-1)
        if layer.bias is not None:
            logits = logits + layer.bias
        if not directed:
            return logits
        return torch.stack([logits, (features.detach() * (direction * scale.detach())).sum(-1)], -1)
