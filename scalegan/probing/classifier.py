"""A plain convolutional classifier, trained on labelled images in the same way each time."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.pixels import from_levels
from scalegan.randomness import parameter_generators
from scalegan.support import devices
from scalegan.support.keys import key_of
from scalegan.support.progress import Bar

_BATCH, _AT_ONCE = 64, 256
_SHOWN, _PASSES = 64_000, 5         # images that training shows at least, and passes over the data at least
_CHECKS = 20                        # how often the held-out labels are looked at
_HELD_OUT = 10                      # every tenth image
_WIDTHS = range(8, 257, 4)


@dataclass(frozen=True)
class Classifier:
    """A trained network."""

    network: nn.Module

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits of the labels, float32 [n, K] on the CPU, of images uint8 [n, C, H, W]: a softmax over classes, or a
        sigmoid for each attribute."""
        device = next(self.network.parameters()).device
        return torch.cat([self.network(from_levels(part.to(device))).cpu() for part in images.split(_AT_ONCE)])


def fit_cnn(images: Tensor, labels: Tensor, outputs: int | None = None, parameters: int = 400_000,
            seed: int = 0) -> Classifier:
    """Trains a classifier, on a GPU if there is one; two calls give equal results.

    Strided convolutions as in DCGAN's discriminator, with BatchNorm and a linear layer; AdamW, 1e-3, falling to 0 along
    a cosine. Every tenth image is held out, and the weights kept are those with the least loss on these.

    Args:
        images: uint8 [n, C, H, W], at least 2.
        labels: classes, int64 [n], or attributes, 0 or 1, [n, K].
        outputs: number of classes, if the labels do not show all.
        parameters: the network has about as many.
        seed: of the initial weights and the order.
    """
    device = devices.available()
    outputs = outputs or (labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1)
    network = _network(tuple(images.shape[1:]), outputs, parameters)
    _initialise(network, seed)
    network.to(device)
    held_out = torch.arange(len(images)) % _HELD_OUT == 0
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        _train(network, (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out]), seed)
    return Classifier(network)


def size_of(network: nn.Module) -> int:
    """The number of its parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def _network(shape: tuple[int, int, int], outputs: int, parameters: int) -> nn.Module:
    """The widest of the networks with at most so many parameters; the narrowest if all have more."""
    def of_width(width: int) -> nn.Module:
        channels, height, width_in_pixels = shape
        layers: list[nn.Module] = []
        sides = [height, width_in_pixels]
        while min(sides) >= 8:
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
            channels, width, sides = width, 2 * width, [side // 2 for side in sides]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sides), outputs))

    with torch.device("meta"):
        fitting = [width for width in _WIDTHS if size_of(of_width(width)) <= parameters]
    return of_width(max(fitting, default=_WIDTHS[0]))


@torch.no_grad()
def _initialise(network: nn.Module, seed: int) -> None:
    """Weights N(0, 2 / fan_in) (He et al., 2015), zero biases, gains of 1."""
    generator = parameter_generators(seed, "cnn")
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, math.sqrt(2 / parameter[0].numel()), generator=generator(name))
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def _train(network: nn.Module, shown: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], seed: int) -> None:
    """Leaves the network with its best weights, in eval mode."""
    images, labels = shown
    device = next(network.parameters()).device
    updates = max(_SHOWN, _PASSES * len(images)) // _BATCH
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    least, best = math.inf, network.state_dict()
    order = _batches(len(images), seed)
    with Bar("training the CNN", updates * _BATCH) as bar:
        for update in range(1, updates + 1):
            chosen = next(order)
            optimizer.zero_grad()
            _loss(network.train()(from_levels(images[chosen].to(device))), labels[chosen].to(device)).backward()
            optimizer.step()
            schedule.step()
            if update % max(updates // _CHECKS, 1) == 0 or update == updates:
                loss = float(_loss(Classifier(network.eval()).logits(held_out[0]), held_out[1]))
                if loss < least:
                    least, best = loss, copy.deepcopy(network.state_dict())
            bar.advance(_BATCH)
    network.load_state_dict(best)
    network.eval().requires_grad_(False)


def _batches(count: int, seed: int) -> Iterator[Tensor]:
    """Numbers of images, one random permutation after another."""
    generator = torch.Generator().manual_seed(key_of(seed, "cnn", "order") & 0xFFFFFFFF)
    waiting = torch.empty(0, dtype=torch.long)
    while True:
        while len(waiting) < _BATCH:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[:_BATCH]
        waiting = waiting[_BATCH:]


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of classes [n], or its mean over attributes [n, K]."""
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
