"""The encoder of an adversarial autoencoder."""

import math

import torch
from torch import Tensor, nn

from scalegan.models import mlp
from scalegan.models.layers.initial import Generators, global_generator


class Encoder(nn.Module):
    """Samples [N, *shape] -> codes [N, outputs]: a linear layer on the last features of a family's discriminator,
    without that discriminator's own output layer."""

    def __init__(self, trunk: nn.Module, outputs: int) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(trunk.encoding_size, outputs)
        if isinstance(trunk, mlp.Discriminator):
            trunk.layers[-1] = nn.Identity()
        else:
            trunk.head = nn.Identity()
        self.initialise(global_generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk.encode(x).flatten(1))

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        """The family's weights; those of the linear layer from N(0, 1 / features), so that codes start near N(0, 1)."""
        self.trunk.initialise(generator)
        if not self.head.weight.is_meta:
            self.head.weight.normal_(0.0, 1 / math.sqrt(self.head.in_features), generator=generator("code.weight"))
            self.head.bias.zero_()
