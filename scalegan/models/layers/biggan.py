"""What BigGAN and BigGAN-deep share: tables, truncation, and all of both networks but their blocks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.attention import SelfAttention
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.conditions import check_labels
from scalegan.models.layers.half import wide_dtype
from scalegan.models.layers.initial import Generators
from scalegan.models.layers.sides import BASE
from scalegan.models.layers.slicing import LastLayer
from scalegan.models.layers.spectral import Conv2d, Embedding, Linear

BOTTOM = BASE                                           # pixels of the shorter side where the generator starts

# Channels in multiples of the width: of the first map, then after each stage, which doubles the resolution. A stage is
# one block of BigGAN, or several of BigGAN-deep.
G_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# BigGAN: after each block, from RGB. BigGAN-deep: of the first convolution, then after each stage.
D_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
# Of each block or stage, as are the resolutions below; BigGAN-deep has no last block.
D_DOWNSAMPLES = {resolution: (True,) * (len(table) - 1) + (False,) for resolution, table in D_CHANNELS.items()}
D_DOWNSAMPLES[32] = (True, True, False, False)
# Names of D's attention blocks: the resolution after the block. At 32 px the reference calls all of them 16.
D_RESOLUTIONS = {resolution: tuple(max(resolution >> i, BOTTOM) for i in range(1, len(table) + 1))
                 for resolution, table in D_CHANNELS.items()}
D_RESOLUTIONS[32] = (16, 16, 16, 16)


def truncate(z: Tensor, psi: float) -> Tensor:
    """z ~ N(0, I) with values beyond +-psi resampled from within (the truncation trick, section 3.1).

    The new value is a function of the old: the quantile of |z| within its tail, which is uniform, becomes the quantile
    of the new |z| in the truncated normal; the sign stays. So the distribution is exactly that of resampling, the same
    z gives the same image, and a z that is already truncated is unchanged.
    """
    if not psi > 0:
        raise ValueError(f"psi is BigGAN's truncation threshold and must be positive, not {psi}")
    size, limit = z.to(wide_dtype(z)).abs(), psi / math.sqrt(2)
    tail = torch.special.erfc(size / math.sqrt(2)) / max(math.erfc(limit), 1e-300)
    again = math.sqrt(2) * torch.special.erfinv(tail * math.erf(limit)) * z.sign()
    return torch.where(size > psi, again.clamp(-psi, psi).to(z.dtype), z)


class BlockGenerator(nn.Module, ABC):
    """Latents and classes to images, through a linear layer and a sequence of blocks.

    A family's `__init__` sets `latent_dim`, `num_classes`, `init` and `base`, the height and width of the first map,
    and makes `shared` (or None), `linear`, `blocks`, `attention` (by the index of the block that it follows), `norm`
    and `to_rgb`.

    Attributes:
        bounded: whether a tanh ends the network.
    """

    bounded = True

    def initialise(self, generator: Generators) -> None:
        """Fills every parameter and u with the generator of its name."""
        _initialise(self, generator, self.init)

    def forward(self, z: Tensor, labels: Tensor | None = None, psi: float = 1.0) -> Tensor:
        """[N, latent_dim], [N] or [N, K] -> [N, C, H, W], in (-1, 1) if `bounded`.

        psi is the threshold at which normal latents are truncated (see `truncate`); 1 leaves z unchanged, as it does in
        every family.
        """
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"latents must be [N, {self.latent_dim}], not {list(z.shape)}")
        labels = check_labels(labels, self.num_classes, z.shape[0])
        first, conditions = self._conditions(self.truncated(z, psi), labels)
        h = self.linear(first).unflatten(1, (-1, *self.base)).contiguous(memory_format=torch.channels_last)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions)):
            h = block(h, *condition)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        images = _wide(self.to_rgb(F.relu(self.norm(h))))
        return torch.tanh(images) if self.bounded else images

    def truncated(self, z: Tensor, psi: float) -> Tensor:
        """The latents [N, latent_dim] that `forward` goes on with."""
        return z if psi == 1 else truncate(z, psi)

    @abstractmethod
    def _conditions(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """The input of the first feature map, and the condition of each block: a tuple of one tensor, or of none."""


class ProjectionDiscriminator(nn.Module):
    """Images and classes to logits: features of a sequence of blocks, summed over pixels and projected.

    A family's `__init__` sets `sides` (height and width), `channels`, `num_classes` and `init`, and makes `blocks`,
    `attention`, `linear` and `embedding` (or None).
    """

    per_sample = True  # a logit depends on its own image alone: reals and fakes may share a pass

    def initialise(self, generator: Generators) -> None:
        """Fills every parameter and u with the generator of its name."""
        _initialise(self, generator, self.init)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, C, H, W], [N] or [N, K] -> logits [N]."""
        (h, weights, bias), = self.last_layer(x, labels)
        logits = (weights * h).sum(1)         # a weighted sum, which autocast leaves in full precision
        return logits if bias is None else logits + bias

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        """One layer, of weights linear + embedding(labels)."""
        shape = (self.channels, *self.sides)
        if x.shape[1:] != shape:
            raise ValueError(f"images must be [N, {', '.join(map(str, shape))}], not {list(x.shape)}")
        labels = check_labels(labels, self.num_classes, x.shape[0])
        h = self._entry(x.contiguous(memory_format=torch.channels_last))
        for i, block in enumerate(self.blocks):
            h = block(h)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        h = _wide(F.relu(h)).sum((2, 3))                              # [N, C]
        weights = self.linear.normed()
        if labels is not None:
            weights = weights + _wide(self.embedding(labels))
        return [LastLayer(h, weights, self.linear.bias)]

    def _entry(self, x: Tensor) -> Tensor:
        """Images to the input of the first block."""
        return x


def _wide(x: Tensor) -> Tensor:
    return x.to(wide_dtype(x))


def check_resolution(family: str, network: str, resolution: int, known: Collection[int]) -> None:
    """Raises ValueError for a resolution that a family does not have the network for."""
    if resolution not in known:
        raise ValueError(f"{family} has no {network} for {resolution} px; it has {', '.join(map(str, known))}")


def check_attention(wanted: Sequence[int], resolutions: Sequence[int]) -> None:
    """Raises ValueError for a resolution at which no block ends."""
    unknown = [size for size in wanted if size not in resolutions]
    if unknown:
        raise ValueError(f"no block ends at the attention resolution {unknown[0]}; blocks end at "
                         f"{', '.join(map(str, sorted(set(resolutions))))}")


@torch.no_grad()
def _initialise(model: nn.Module, generator: Generators, scheme: str) -> None:
    for name, module in model.named_modules():
        if isinstance(module, Conv2d | Linear | Embedding):
            module.initialise(name, generator, scheme)
        elif isinstance(module, SelfAttention):
            nn.init.zeros_(module.gamma)
        elif isinstance(module, GroupedBatchNorm):
            nn.init.zeros_(module.running_mean)
            nn.init.ones_(module.running_var)
            if module.weight is not None:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
