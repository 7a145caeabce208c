"""Projected GAN's discriminator (Sauer et al., 2021): small ones, each on a random projection of the features of a
frozen network."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.convolution import conv2d
from scalegan.models.layers.initial import Generators, fan_in_uniform_, global_generator
from scalegan.models.layers.labels import LabelEmbedding
from scalegan.models.layers.slicing import LastLayer
from scalegan.models.layers.spectral import Conv2d

_STRIDE = 32        # of the feature network's deepest features
_LABEL_WIDTHS = 128, 64     # of a label's embedding, and of what is multiplied with the features


class Discriminator(nn.Module):
    """Images [N, C, H, W] in [-1, 1] -> logits [N, L], of all patches and scales: 64 at 224 px.

    The feature network is not part of the state: its weights come with a package, and a run records their digest. The
    projection is: it is drawn once, as initial weights are, and kept in buffers, so that D fits it wherever it is
    loaded.

    Args:
        features: frozen; images -> features [N, widths[k], H / 2**(k + 2), W / 2**(k + 2)] of four scales.
        widths: channels of these features.
        width: channels of the projection at the highest resolution; deeper ones have up to four times, and the
            discriminators up to eight times as many.
        size: images whose shorter side is below it are enlarged to it; a multiple of 32, at least 128.
        num_classes: 0 for none; `multilabel` says that labels are rows [N, num_classes], not indices [N].
        norm_group: see `GroupedBatchNorm`.
    """

    def __init__(self, features: nn.Module, widths: Sequence[int], width: int = 64, size: int = 224,
                 num_classes: int = 0, multilabel: bool = False, norm_group: int = 16) -> None:
        super().__init__()
        self.size, self.fixed = size, {"features": features}
        self.projection = Projection(widths, width)
        of_heads = [width, width, 2 * width, 4 * width, 8 * width]
        self.heads = nn.ModuleList(Head(of_heads[scale:], norm_group, num_classes, multilabel) for scale in range(4))
        self.initialise(global_generator)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.cat([head(found, labels) for head, found in zip(self.heads, self._projected(x))], 1)

    def last_layer(self, x: Tensor, labels: Tensor | None = None) -> list[LastLayer]:
        """A layer for each scale."""
        return [head.last_layer(found, labels) for head, found in zip(self.heads, self._projected(x))]

    def _projected(self, x: Tensor) -> list[Tensor]:
        return self.projection(self.fixed["features"](enlarged(x, self.size)))

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """torch's own initial weights, as in the published code; embeddings N(0, 1)."""
        self.projection.initialise("projection", generator)
        for number, head in enumerate(self.heads):
            head.initialise(f"heads.{number}", generator)


def enlarged(images: Tensor, size: int) -> Tensor:
    """Images [N, C, H, W] whose shorter side is at least `size`, and both multiples of 32, by bilinear interpolation;
    those that are so already, as they are. The published code has 224 px, and leaves larger images as they are."""
    scale = max(size / min(images.shape[2:]), 1.0)
    sides = [_STRIDE * math.ceil(round(side * scale) / _STRIDE) for side in images.shape[2:]]
    if sides == list(images.shape[2:]):
        return images
    return F.interpolate(images, sides, mode="bilinear", align_corners=False)


class Projection(nn.Module):
    """Features of four scales, [N, widths[k], H / 2**k, W / 2**k], to as many of twice the sides, of w, w, 2w and 4w
    channels, by random convolutions that are never trained (section 3.2).

    Channels are mixed by 1x1 convolutions, to w, 2w, 4w and 8w. Then scales are mixed from the deepest one on: the sum
    of a scale's features and of what comes from below goes through a 3x3 convolution, and is enlarged bilinearly. The
    published code has 1x1 convolutions there, too.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        wide = [width << scale for scale in range(4)]
        narrow = [width, *wide[:3]]
        self.channels = nn.ModuleList(FrozenConv2d(*sizes, 1) for sizes in zip(widths, wide))
        self.scales = nn.ModuleList(FrozenConv2d(*sizes, 3) for sizes in zip(wide, narrow))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for x, channels, scales in reversed([*zip(features, self.channels, self.scales)]):
            x = channels(x)
            x = scales(x + found[0] if found else x)
            found.insert(0, F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
        return found

    def initialise(self, name: str, generator: Generators) -> None:
        for part, layers in (("channels", self.channels), ("scales", self.scales)):
            for number, layer in enumerate(layers):
                for leaf, buffer in layer.named_buffers():
                    if not buffer.is_meta:
                        fan_in_uniform_(buffer, layer.weight[0].numel(), generator(f"{name}.{part}.{number}.{leaf}"))


class FrozenConv2d(nn.Module):
    """A convolution that keeps the size, [N, C, H, W] -> [N, O, H, W]; its weights are buffers, so not trained."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(out_channels, channels, kernel, kernel))
        self.register_buffer("bias", torch.empty(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class Head(nn.Module):
    """The discriminator of one scale: features [N, widths[0], H, W] -> logits [N, L], each of a patch.

    4x4 convolutions halve the sides once for each further width, and a last one makes the logits; all have spectral
    norm, all but the last BatchNorm. Labels, if the model has them, enter by projection, as in the published code: the
    last one makes 64 features, whose product with a map of the label's embedding is the logit.
    """

    def __init__(self, widths: list[int], norm_group: int, num_classes: int = 0,
                 multilabel: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(Conv2d(narrow, wide, 4, bias=False, stride=2, padding=1), GroupedBatchNorm(wide, norm_group),
                          nn.LeakyReLU(0.2)) for narrow, wide in itertools.pairwise(widths))
        embedded, mapped = _LABEL_WIDTHS
        self.out = Conv2d(widths[-1], mapped if num_classes else 1, 4, bias=False, padding=0)
        self.embed = LabelEmbedding(num_classes, embedded, multilabel) if num_classes else None
        self.map = nn.Linear(embedded, mapped) if num_classes else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        logits = self.out(self._features(x))
        if self.embed is not None:
            of_label = self._mapped(labels)
            logits = (logits * of_label[:, :, None, None]).sum(1) / math.sqrt(of_label.shape[1])
        return logits.flatten(1)

    def last_layer(self, x: Tensor, labels: Tensor | None) -> LastLayer:
        h = self._features(x)
        if self.embed is None:
            patches = F.unfold(h, self.out.normed.weight.shape[2:])
            return LastLayer(patches.transpose(1, 2), self.out.normed().flatten(1)[None])
        of_label = self._mapped(labels)
        return LastLayer(self.out(h).flatten(2).transpose(1, 2), of_label[:, None] / math.sqrt(of_label.shape[1]))

    def _features(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def _mapped(self, labels: Tensor | None) -> Tensor:
        """What a label's features are multiplied with, [N, 64]."""
        return F.leaky_relu(self.map(self.embed(labels)), 0.2)

    def initialise(self, name: str, generator: Generators) -> None:
        for number, layer in enumerate(self.layers):
            layer[0].initialise(f"{name}.layers.{number}", generator, "fan_in")
        self.out.initialise(f"{name}.out", generator, "fan_in")
        if self.embed is not None and not self.embed.weight.is_meta:
            self.embed.weight.normal_(generator=generator(f"{name}.embed.weight"))
            for leaf, parameter in self.map.named_parameters():
                fan_in_uniform_(parameter, self.map.in_features, generator(f"{name}.map.{leaf}"))
