"""Standing statistics (Brock et al., 2019, appendix B): BatchNorm's averages taken anew of the generator as it is.

Running statistics lag behind the weights, and those of an averaged generator are of other weights altogether.
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
    """Replaces the running statistics by their means over fresh latents and, where there are any, uniform classes.

    Args:
        generator: as `scalegan.load` gives it, with what it is in `about`; in eval mode afterwards.
        batches, batch_size: what is averaged over; a norm sees its own `norm_group` of a batch.
        seed: of the draws.
        psi: truncation that the samples will have.

    Raises:
        ValueError: where the generator has no BatchNorm, or is conditioned by attributes.
    """
    norms = [module for module in generator.modules() if isinstance(module, GroupedBatchNorm)]
    spec, device = Spec.of(generator.about["spec"]), next(generator.parameters()).device
    if not norms:
        raise ValueError("this generator has no BatchNorm, and so no standing statistics")
    if spec.multilabel:
        raise ValueError("standing statistics draw uniform classes, but this generator is conditioned by attributes")
    sums: list[dict[str, Tensor]] = [{} for _ in norms]
    generator.eval()
    for norm in norms:                          # everything else stays as it will be in sampling
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
