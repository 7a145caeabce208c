"""The features of a discriminator or an encoder: all its convolutional layers (Radford et al., 2016, section 5.1)."""

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.checkpoints import exports
from scalegan.checkpoints.stored_weights import LIVE
from scalegan.config.models import IMAGE_TO_IMAGE, UPSCALERS
from scalegan.data.pixels import from_levels
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.games.ali.networks import Maxout
from scalegan.games.bigan.networks import Encoder
from scalegan.games.gan3d.networks import Convolution
from scalegan.games.sampling import at_once
from scalegan.models import biggan, biggan_deep, r3gan, stylegan2
from scalegan.models.autoencoder import AutoEncoder
from scalegan.models.gat.blocks import Block
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.randomness import parameter_generators
from scalegan.support import devices
from scalegan.support.progress import Bar

_SIDE = 4                       # maps are max-pooled to 4 x 4
_SIDE_3D = 2                    # maps of volumes to 2 x 2 x 2, as kernels of 8, 4 and 2 give from 16, 8 and 4 a side
_LEAST, _MOST = 16, 64          # images at once; whole groups of a minibatch standard deviation
_REFERENCE = 16                 # batches that BatchNorm's statistics are taken over

Tap = tuple[nn.Module, str, Callable[[Tensor], Tensor]]


def network_of(path: str | Path) -> nn.Module:
    """The network whose features a run is probed by: its encoder, as it exports it, or else its discriminator. On a GPU
    if there is one.

    Raises:
        UserError: if the run is damaged, an export without an encoder, or of a game without either.
    """
    default = exports.load(path, standing_batches=0)
    encodes = "encode" in default.about["networks"] and spec_of(default).kind == "image"    # volumes' are of pictures
    network = exports.load(path, "encode", standing_batches=0) if encodes else exports.load_player(path, "D")
    recipe = network.about["recipe"]
    if recipe["model"]["name"] in IMAGE_TO_IMAGE + UPSCALERS:
        raise UserError(f"{path} is a run of game.name={recipe['game']['name']}, whose D sees answers to images; a "
                        "probe needs a run that makes images from z, or one with an encoder")
    if spec_of(network).kind not in ("image", "volume"):
        raise UserError(f"{path} was trained on data of kind '{spec_of(network).kind}'; a probe needs a run on images "
                        "or volumes")
    return network.to(devices.available())


def name_of(network: nn.Module) -> str:
    """Its player's name, D or E."""
    return next(iter(network.parts)).removesuffix(LIVE)


def spec_of(network: nn.Module) -> Spec:
    """What the network's run was trained on."""
    return Spec.of(network.about["spec"])


def untrained(network: nn.Module) -> nn.Module:
    """A copy with the weights that its run began with."""
    fresh = copy.deepcopy(network)
    for name, player in fresh.parts.items():
        player.cpu().initialise(parameter_generators(fresh.about["seed"], name.removesuffix(LIVE)))
    return fresh.to(next(network.parameters()).device)


def features_of(network: nn.Module, images: Tensor, what: str = "") -> Tensor:
    """Every convolution's output after its activation, max-pooled to 4 x 4, flattened and concatenated: float32
    [n, 16 * channels of all layers] on the CPU. Maps smaller than 4 x 4 stay as they are, as do vectors. Of volumes, as
    in section 4.2 of Wu et al. (2016), every convolution but the first, max-pooled to 2 x 2 x 2.

    In BigGAN, BigGAN-deep and R3GAN, whose convolutions run together, the outputs of blocks stand for those of their
    last ones. A conditional discriminator is told the same label with each image.

    Args:
        network: from `network_of`; `settle` its BatchNorm first.
        images: uint8 [n, C, H, W], or volumes [n, 1, D, H, W].
        what: the name of a progress bar; empty for none.
    """
    found, bar = [], Bar(what, len(images)) if what else None
    with bar or nullcontext():
        for part in images.split(batch_of(network)):
            found.append(_of_batch(network, part))
            if bar is not None:
                bar.advance(len(part))
    return torch.cat(found)


def batch_of(network: nn.Module) -> int:
    """How many images the network takes at once."""
    return min(max(at_once(spec_of(network).shape), _LEAST), _MOST)


@torch.no_grad()
def settle(network: nn.Module, images: Tensor) -> None:
    """Gives BatchNorm the statistics of real images, uint8 [n, C, H, W], of which it takes the first 1,024 or fewer.
    Those that a discriminator has are of reals and fakes, and an untrained network has none."""
    norms = [module for module in network.modules() if isinstance(module, GroupedBatchNorm)]
    size = batch_of(network)
    batches = images[: _REFERENCE * size].split(size)
    batches = [batch for batch in batches if len(batch) == size] or batches
    totals: list[dict[str, Tensor]] = [{} for _ in norms]
    for norm in norms:
        norm.norm_group = "batch"
        norm.train()
    for batch in batches if norms else ():
        _run(network, batch)
        for norm, total in zip(norms, totals):
            for name, value in norm.drain().items():
                total[name] = total.get(name, 0) + value / len(batches)
    for norm, total in zip(norms, totals):
        norm.running_mean.copy_(total["mean"])
        norm.running_var.copy_(total["var"])
        norm.eval()


@torch.no_grad()
def _of_batch(network: nn.Module, images: Tensor) -> Tensor:
    """Features of at most `batch_of` images. The batch is filled up, as a layer may compare its images in groups."""
    missing = batch_of(network) - len(images)
    with _recorded(network) as maps:
        _run(network, torch.cat([images, images[:1].expand(missing, *images.shape[1:])]))
    if not maps:
        raise UserError(f"the network {name_of(network)} of game.name={network.about['recipe']['game']['name']} has no "
                        "layer that a probe can read")
    return torch.cat(maps, 1)[: len(images)].cpu()


def _run(network: nn.Module, images: Tensor) -> None:
    device = next(network.parameters()).device
    labels = {}
    if "labels" in inspect.signature(network.forward).parameters:
        condition = spec_of(network).empty_condition(len(images))
        labels = {"labels": None if condition is None else condition.to(device)}
    network(from_levels(images.to(device)), **labels)


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the pooled maps of the forwards within, in the order in which they are made."""
    maps: list[Tensor] = []
    taps = list(_taps(network))
    for module, method, activation in taps:
        setattr(module, method, _recording(getattr(module, method), activation, maps))
    try:
        yield maps
    finally:
        for module, method, _ in taps:
            delattr(module, method)


def _recording(method: Callable[..., Tensor], activation: Callable[[Tensor], Tensor],
               maps: list[Tensor]) -> Callable[..., Tensor]:
    def recorded(*arguments: object) -> Tensor:
        output = method(*arguments)
        maps.append(_pooled(activation(output)).flatten(1).float())
        return output
    return recorded


def _pooled(x: Tensor) -> Tensor:
    if x.dim() == 5:
        return F.adaptive_max_pool3d(x, _SIDE_3D)
    if x.dim() != 4:
        return x
    return F.adaptive_max_pool2d(x, tuple(min(side, _SIDE) for side in x.shape[2:]))


def _taps(network: nn.Module) -> Iterator[Tap]:
    """The methods that return layers' outputs, and what is applied to these first where the network does so later."""
    decoders = {part for module in network.modules() if isinstance(module, AutoEncoder)
                for part in module.decoder.modules()}
    for module in network.modules():
        match module:
            case nn.ReLU() | nn.LeakyReLU() if module not in decoders:
                yield module, "forward", nn.Identity()
            case Convolution() if not isinstance(module.norm, nn.Identity):
                yield module, "forward", nn.Identity()
            case Maxout() | r3gan.ResidualBlock():
                yield module, "forward", nn.Identity()
            case biggan.DiscriminatorBlock():
                yield module.conv1, "forward", F.relu
                yield module, "forward", F.relu
            case biggan_deep.Discriminator():
                yield module.from_rgb, "forward", F.relu
            case biggan_deep.DiscriminatorBlock():
                for layer in (module.conv1, module.conv2, module.conv3, module):
                    yield layer, "forward", F.relu
            case stylegan2.Discriminator():
                yield module.fromrgb, "activated", nn.Identity()
            case stylegan2.DiscriminatorBlock():    # the last convolution, behind them, sees all images of a batch
                yield module.conv0, "activated", nn.Identity()
                yield module.conv1, "activated", nn.Identity()
            case Block():
                yield module, "forward", partial(torch.mean, dim=1)         # over tokens
            case Encoder():
                yield module, "features", nn.Identity()
