"""Fakes from keyed draws."""

import torch
from torch import Tensor, nn

from scalegan.games.base import Batch
from scalegan.games.sampling import keyed_noise, latents


def plain_fakes(generator: nn.Module, batch: Batch, condition: Tensor | None) -> Tensor:
    """G(z, condition), images [n, C, H, W]."""
    return generator(latents(generator, batch.draws), condition)


def every_level(generator: nn.Module, batch: Batch, condition: Tensor | None) -> Tensor:
    """All outputs of a G that has several, [n, levels, C, H, W]."""
    return generator(latents(generator, batch.draws), condition, levels=True)


class StyledFakes:
    """Fakes of a style-based G: mixed styles and keyed noise (Karras et al., 2019, sections 3.1 and 3.2).

    Args:
        mixing: probability that a sample takes its styles from a second latent, from a random layer on. It is drawn
            per sample; the published code draws it once per GPU.
    """

    def __init__(self, mixing: float) -> None:
        self.mixing = mixing

    def __call__(self, generator: nn.Module, batch: Batch, condition: Tensor | None) -> Tensor:
        return generator.synthesis(self.styles(generator, batch, condition), self.noise(generator, batch))

    def styles(self, generator: nn.Module, batch: Batch, condition: Tensor | None) -> Tensor:
        """ws [n, num_ws, w_dim]."""
        draws = batch.draws
        ws = generator.mapping(latents(generator, draws), condition)
        if not self.mixing:
            return ws
        others = generator.mapping(draws.normal("z2", generator.latent_dim), condition)
        first = draws.integers("cutoff", ws.shape[1] - 1) + 1
        first = torch.where(draws.uniform("mix") < self.mixing, first, ws.shape[1])
        layer = torch.arange(ws.shape[1], device=ws.device)
        return torch.where((layer < first[:, None])[:, :, None], ws, others)

    @staticmethod
    def noise(generator: nn.Module, batch: Batch):
        """The synthesis layers' source of noise: (name, shape [n, 1, H, W]) -> Tensor."""
        return keyed_noise(generator, batch.draws)
