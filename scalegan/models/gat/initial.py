"""Initial weights of G and D, as in the published code."""

import torch
from torch import nn

from scalegan.models.gat import blocks
from scalegan.models.gat.mapping import SlowLinear
from scalegan.models.layers.initial import Generators
from scalegan.models.layers.labels import LabelEmbedding

_MODULATION_GAIN = 0.1      # branches begin near zero
_TABLE_STD = 0.02


@torch.no_grad()
def initialise(network: nn.Module, generator: Generators) -> None:
    """Weights by Glorot & Bengio (2010), biases 0, tables N(0, 0.02), gains of norms 1 and of D's branches 0.1."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | SlowLinear):
            gain = _MODULATION_GAIN if name.endswith("modulation") else 1 / getattr(module, "lr_multiplier", 1)
            if not module.weight.is_meta:
                nn.init.xavier_uniform_(module.weight, gain, generator=generator(f"{name}.weight"))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, LabelEmbedding):
            table(module.weight, f"{name}.weight", generator)
        elif isinstance(module, nn.RMSNorm):
            module.weight.fill_(1.0)
        elif isinstance(module, blocks.Block):
            module.gain.fill_(blocks._LAYER_SCALE)
            module.mlp_gain.fill_(blocks._LAYER_SCALE)


@torch.no_grad()
def table(parameter: nn.Parameter, name: str, generator: Generators) -> None:
    """Fills a table or a token from N(0, 0.02)."""
    if not parameter.is_meta:
        parameter.normal_(0.0, _TABLE_STD, generator=generator(name))
