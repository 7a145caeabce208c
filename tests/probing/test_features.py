"""Which features a probe reads of each family's discriminator and of each game's encoder."""

from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from small_games import CLASSES, networks
from torch import Tensor, nn

from scalegan.data.pixels import from_levels
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.games.aae import networks as aae
from scalegan.games.acgan import networks as acgan
from scalegan.games.ali import networks as ali
from scalegan.games.avb import networks as avb
from scalegan.games.bigan import networks as bigan
from scalegan.models import autoencoder, dcgan, mlp
from scalegan.probing.features import features_of, settle, untrained

IMAGES = torch.randint(256, (70, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)

# Each network, and the features of one image by hand: 16 of each channel of each layer.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "DCGAN": (lambda: networks("dcgan")[1], 16 * (8 + 16 + 32)),
    "BigGAN, two convolutions in each of 4 blocks": (lambda: networks("biggan")[1], 16 * 4 * (32 + 32)),
    "BigGAN-deep, a convolution, then four in each of 6 blocks":
        (lambda: networks("biggan_deep")[1], 16 * (32 + 6 * (8 + 8 + 8 + 32))),
    "StyleGAN2, without the convolution behind minibatch deviations":
        (lambda: networks("stylegan2")[1], 16 * (8 + 8 + 16 + 16 + 16 + 16 + 16)),
    "R3GAN, two blocks at each of 4 resolutions": (lambda: networks("r3gan")[1], 16 * 4 * 2 * 16),
    "GAT, the mean token of two blocks": (lambda: networks("gat")[1], 16 + 16),
    "AC-GAN of the paper": (lambda: acgan.Classifying(acgan.Discriminator(), 3), 16 * (16 + 32 + 64 + 128 + 256 + 512)),
    "EBGAN's encoder alone": (lambda: autoencoder.convolutional(32, 3, 4, 16), 16 * (4 + 8 + 16)),
    "fully connected: the hidden layers": (lambda: mlp.Discriminator((3, 32, 32), 10, 2), 10 + 10),
    "ALI's encoder, two layers of which have 1 x 1 px":
        (lambda: ali.Encoder(width=2), 16 * (2 + 4 + 8 + 16) + 32 + 32),
    "BiGAN's encoder: its last hidden layer": (lambda: bigan.Encoder((3, 32, 32), hidden=20), 20),
    "AAE's encoder": (lambda: aae.Encode(aae.Encoder(dcgan.Discriminator(32, 3, 4), 5)), 16 * (4 + 8 + 16)),
    "AVB's encoder": (lambda: avb.Encode(avb.NoisyEncoder(dcgan.Discriminator(32, 3, 4), 5, 6, 7)), 16 * (4 + 8 + 16)),
}


def described(network: nn.Module) -> nn.Module:
    """The network as if it came from a run on images of `CLASSES` classes."""
    network.about = {"spec": asdict(Spec("image", (3, 32, 32), classes=CLASSES)), "seed": 0,
                     "recipe": {"game": {"name": "gan"}}}
    network.parts = {"D": network}
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_of_all_layers_and_of_an_image_alone(name: str) -> None:
    build, width = NETWORKS[name]
    network = described(build())
    settle(network, IMAGES)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    features = features_of(network, IMAGES)
    assert features.shape == (70, width)
    assert (features.std(0) > 0).float().mean() > 0.5
    assert torch.equal(features_of(network, IMAGES[60:63]), features[60:63])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any("forward" in vars(module) for module in network.modules())


def pooled(maps: list[Tensor]) -> Tensor:
    return torch.cat([F.max_pool2d(each, each.shape[-1] // 4).flatten(1) for each in maps], 1)


def test_those_of_dcgan_are_its_activations_max_pooled_with_statistics_of_real_images() -> None:
    """Of 64 images, that is BatchNorm over all of them."""
    network, images = described(networks("dcgan")[1]), IMAGES[:64]
    settle(network, images)
    x, maps = from_levels(images), []
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            x = F.conv2d(x, layer.weight, stride=2, padding=1)
        elif isinstance(layer, nn.LeakyReLU):
            x = torch.where(x > 0, x, 0.2 * x)
            maps.append(x)
        else:
            x = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    torch.testing.assert_close(features_of(network, images), pooled(maps), rtol=1e-2, atol=1e-2)    # unbiased variances


def test_an_untrained_copy_starts_as_its_run_did_and_leaves_the_network_alone() -> None:
    network = described(dcgan.Discriminator(32, 3, 8))
    network.initialise(lambda name: torch.Generator().manual_seed(5))
    before = network.head.weight.clone()
    first, second = untrained(network), untrained(network)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, before)
    assert torch.equal(network.head.weight, before)
    network.about["seed"] = 1
    assert not torch.equal(untrained(network).head.weight, first.head.weight)


def test_a_network_without_layers_that_can_be_read_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match=r"network D of game.name=gan has no layer"):
        features_of(described(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1))), IMAGES)
