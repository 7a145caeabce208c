"""Whether images show what was asked of them, as a classifier trained apart sees them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scalegan.games.stargan.labels import HAIR


def accuracies(seen: Tensor, true: Tensor) -> Tensor:
    """Of each class: the share of its images, [K], that were seen as it. Of each attribute: the mean of that share, and
    of the share without it seen as such; nan if all or none of the images have it.

    Args:
        seen, true: classes [n], or attributes, 0 or 1, [n, K].
    """
    if true.dim() == 1:
        return torch.stack([(seen[true == one] == one).float().mean() for one in true.unique()])
    hits, has = (seen == true).float(), true.bool()
    return ((hits * has).sum(0) / has.sum(0) + (hits * ~has).sum(0) / (~has).sum(0)) / 2


def changes(before: Tensor, after: Tensor, goals: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What became of attributes that were to change, and of the others, as shares of the images.

    Args:
        before, after: which attributes are seen in images and in what was made of them, bool [n, K].
        goals: what each is to be, 0 or 1; nan where it is to stay, [n, K].
        names: of the K attributes.

    Returns:
        before, after: of the attributes that were to change, those seen as their goal.
        all: of the images, those of which all such attributes are, afterwards.
        others: of the other attributes, those seen as before; without the other hair colours where one was to change.
    """
    asked = ~goals.isnan()
    hair = torch.tensor([name in HAIR for name in names])
    free = ~asked & ~(hair & (asked & hair).any(1, keepdim=True))
    reached = after == goals.nan_to_num().bool()
    return {"before": (before == goals.nan_to_num().bool())[asked].float().mean(),
            "after": reached[asked].float().mean(),
            "all": (reached | ~asked).all(1).float().mean(),
            "others": (after == before)[free].float().mean()}
