"""The generator."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.gat.blocks import ModulatedBlock, Output, grid_of
from scalegan.models.gat.initial import initialise
from scalegan.models.gat.mapping import Mapping
from scalegan.models.gat.positions import rotation, sinusoids
from scalegan.models.layers.initial import Generators, global_generator


class Generator(nn.Module):
    """z and labels to samples, by blocks that w modulates.

    With `noise_tokens`, z is noise of the sample's own shape, flattened, whose patches are the tokens, and w is made of
    the labels alone, as in adversarial flow models (Lin et al., 2025).

    Args:
        shape: of a sample, [C, H, W].
        patch: side of the square that is a token.
        depth, width, heads: of the blocks; see `SIZES`.
        outputs: K; the k-th is drawn by the first depth * k / K blocks.
        latent_dim: length of z, and of the labels' embedding.
        num_classes: classes, attributes or length of vectors; 0 for none.
        multilabel: labels are rows [N, num_classes], not indices [N].
        noise_tokens: z is noise [N, C * H * W] that becomes the tokens.
        w_avg_beta: decay of w's averages per update.

    Attributes:
        guidance: what `forward` takes if it is not given one.
    """

    guidance: float = 1.0

    def __init__(self, shape: Sequence[int], patch: int = 2, depth: int = 12, width: int = 768, heads: int = 12,
                 outputs: int = 4, latent_dim: int = 64, num_classes: int = 0, multilabel: bool = False,
                 noise_tokens: bool = False, w_avg_beta: float = 0.995) -> None:
        super().__init__()
        self.shape, self.patch, self.heads, self.levels = tuple(shape), patch, heads, outputs
        self.grid = grid_of(self.shape, patch, width, heads)
        if outputs > depth:
            raise ValueError(f"model.outputs={outputs} is more than model.depth={depth}; lower it")
        self.draws_after = [depth * (level + 1) // outputs for level in range(outputs)]
        values = shape[0] * patch**2
        self.num_classes, self.latent = num_classes, "normal"
        self.latent_dim = math.prod(shape) if noise_tokens else latent_dim
        self.embed = nn.Linear(values, width) if noise_tokens else None
        # Where z does not enter w, a model without labels has a single one, which need not be given.
        self.mapping = Mapping(0, num_classes or 1, not multilabel, latent_dim, width, w_avg_beta) if noise_tokens \
            else Mapping(latent_dim, num_classes, not multilabel, latent_dim, width, w_avg_beta)
        self.blocks = nn.ModuleList(ModulatedBlock(width, heads) for _ in range(depth))
        self.outputs = nn.ModuleList(Output(width, values) for _ in range(outputs))
        self.initialise(global_generator)

    def initialise(self, generator: Generators) -> None:
        """Initialises every parameter from the random generator keyed by its name."""
        initialise(self, generator)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0, guidance: float | None = None,
                levels: bool = False) -> Tensor:
        """[N, latent_dim], [N] or [N, num_classes] -> [N, C, H, W], nominally in [-1, 1] if they are images.

        Args:
            psi: truncation: below 1, w is moved towards its average.
            guidance: above 1, w is moved away from its mean over all classes.
            levels: give all outputs, [N, outputs, C, H, W], instead of the last.
        """
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"latents must be [N, {self.latent_dim}], not {list(z.shape)}")
        w = self.mapping(z, labels, psi, self.guidance if guidance is None else guidance)
        x = sinusoids(self.grid, w.shape[1], w).expand(z.shape[0], -1, -1)
        if self.embed is not None:
            x = x + self.embed(patches(z.to(w).unflatten(1, self.shape), self.patch))
        positions = rotation(self.grid, w.shape[1] // self.heads, w)
        drawn, found = 0, []
        for number, block in enumerate(self.blocks, 1):
            x = block(x, w, positions)
            if number in self.draws_after:
                drawn = drawn + self.outputs[len(found)](x, w).to(w.dtype)
                found.append(self._picture(drawn))
        return torch.stack(found, 1) if levels else found[-1]

    def _picture(self, x: Tensor) -> Tensor:
        """Patches [N, tokens, values] -> [N, C, H, W]."""
        return F.pixel_shuffle(x.transpose(1, 2).unflatten(2, self.grid), self.patch)

    def latent_weights(self) -> Tensor:
        """The weights by which z enters, [features, latent_dim]."""
        if self.embed is not None:
            raise ValueError("z is the noise image itself, without a layer that mixes all of it; use another generator")
        return self.mapping.layers[0].weight[:, -self.latent_dim :]


def patches(images: Tensor, side: int) -> Tensor:
    """[N, C, H, W] -> [N, tokens, C * side^2], row by row."""
    return F.pixel_unshuffle(images, side).flatten(2).transpose(1, 2)
