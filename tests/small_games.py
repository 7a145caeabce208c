"""A small game of each family, and a batch for it."""

import torch
from torch import nn

from scalegan.games.base import Batch
from scalegan.games.fakes import StyledFakes, plain_fakes
from scalegan.games.gan.game import GAN
from scalegan.games.path_length import PathLength
from scalegan.losses import LOSSES
from scalegan.models import biggan, dcgan, r3gan, stylegan2
from scalegan.randomness import Draws, parameter_generators

SAMPLES, CLASSES = 8, 3


class Witness(torch.optim.SGD):
    """Notes the gradients that it is given, and leaves the weights as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network.parameters(), lr=0.0)

    def step(self, closure=None) -> None:
        self.found = [p.grad.clone() for p in self.param_groups[0]["params"]]


def networks(family: str) -> tuple[nn.Module, nn.Module]:
    """Small ones, by class but for DCGAN's; every parameter away from zero."""
    made = {
        "dcgan": lambda: (dcgan.Generator(32, width=8, latent_dim=12, norm_group="batch"),
                          dcgan.Discriminator(32, width=8, norm_group="batch")),
        "biggan": lambda: (biggan.Generator(32, width=8, latent_dim=12, num_classes=CLASSES, norm_group="batch",
                                            shared_dim=6, hierarchical=True, attention=(16,)),
                           biggan.Discriminator(32, width=8, num_classes=CLASSES, attention=(16,))),
        "stylegan2": lambda: (stylegan2.Generator(32, channel_base=256, channel_max=16, latent_dim=16, w_dim=16,
                                                  num_classes=CLASSES, mapping_layers=2),
                              stylegan2.Discriminator(32, channel_base=256, channel_max=16, num_classes=CLASSES,
                                                      mapping_layers=2)),
        "r3gan": lambda: (r3gan.Generator(32, width=16, cardinality=4, latent_dim=8, num_classes=CLASSES),
                          r3gan.Discriminator(32, width=16, cardinality=4, num_classes=CLASSES)),
    }[family]()
    for network in made:
        seeded = torch.Generator().manual_seed(7)
        network.initialise(parameter_generators(1, type(network).__module__ + type(network).__qualname__))
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=seeded)
    return made


def game_of(family: str, generator: nn.Module, discriminator: nn.Module) -> GAN:
    common = {
        "dcgan": {"loss": LOSSES["non_saturating"]},
        "biggan": {"loss": LOSSES["hinge"], "orthogonal": 1e-2},
        "stylegan2": {"loss": LOSSES["non_saturating"], "r1_gamma": 3.0, "r1_every": 16, "path_every": 4,
                      "path_length": PathLength(2.0, 0.99), "fakes": StyledFakes(0.0), "order": ("G", "D"),
                      "fresh_batch": ("G",)},
        "r3gan": {"loss": LOSSES["relativistic"], "r1_gamma": 5.0, "r2_gamma": 7.0, "fresh_batch": ("D", "G")},
    }[family]
    return GAN(generator, discriminator, **{"fakes": plain_fakes, **common})


def batch_of(family: str, phase: str) -> Batch:
    draws = Draws(3, 0, phase, torch.arange(SAMPLES))
    labels = None if family == "dcgan" else torch.arange(SAMPLES) % CLASSES
    return Batch(draws.normal("real", 3, 32, 32).clamp(-1, 1), labels, labels, draws)
