"""Standing statistics (Brock et al., 2019, appendix B): BatchNorm statistics recomputed for the current weights.

Running statistics lag behind the weights, and an averaged generator's belong to different weights altogether.
"""

import torch
from torch import Tensor, nn

from scalegan.data.spec import Spec
from scalegan.games.sampling import latents
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.tracked import tracked_modules
from scalegan.randomness import Draws


@torch.no_grad()
def standing_statistics(generator: nn.Module, batches: int = 16, batch_size: int = 64, seed: int = 0,
                        psi: float = 1.0) -> None:
    """Replaces the running statistics with means over fresh latents and, for a conditional generator, uniform classes.

    Args:
        generator: as `scalegan.load` returns it, with its description in `about`; in eval mode afterwards.
        batches, batch_size: number and size of the batches to average over; each norm splits them by `norm_group`.
        seed: seed of the draws.
        psi: the truncation that the samples will have.

    Raises:
        ValueError: if the generator has no BatchNorm, or is conditioned on attributes.
    """
    norms = [module for module in generator.modules() if isinstance(module, GroupedBatchNorm)]
    spec, device = Spec.of(generator.about["spec"]), next(generator.parameters()).device
    if not norms:
        raise ValueError("this generator has no BatchNorm, so it has no standing statistics")
    if spec.multilabel:
        raise ValueError("standing statistics draw uniform classes, but this generator is conditioned on attributes")
    sums: list[dict[str, Tensor]] = [{} for _ in norms]
    generator.eval()
    for norm in norms:                          # everything else stays in eval mode, as in sampling
        norm.train()
    for batch in range(batches):
        positions = torch.arange(batch * batch_size, (batch + 1) * batch_size, device=device)
        draws = Draws(seed, 0, "standing", positions)
        labels = draws.integers("label", spec.classes) if spec.classes else None
        generator(latents(generator, draws), labels, psi=psi)
        for norm, total in zip(norms, sums):
            for name, value in norm.drain().items():
                total[name] = total.get(name, 0) + value / batches
    for norm, total in zip(norms, sums):
        norm.running_mean.copy_(total["mean"])
        norm.running_var.copy_(total["var"])
    for module in tracked_modules(generator):
        module.drain()
    generator.eval()
