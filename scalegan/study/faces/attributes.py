"""The attributes that the study changes: those of the paper, or the nearest that are frequent enough."""

from collections.abc import Sequence

import numpy as np

from scalegan.errors import UserError

LEAST_SHARE = 0.03      # of photos with an attribute, and of those without it, to learn a translation from
_ONE_BY_ONE = (("Bangs", "Straight_Hair"), ("Eyeglasses", "Wearing_Hat"), ("Bald", "Receding_Hairline", "Gray_Hair"))
_FURTHER = (("Smiling", "Mouth_Slightly_Open"), ("Male", "Wearing_Lipstick"), ("Young", "Attractive"))
TRANSFORMED = len(_ONE_BY_ONE)     # how many of those that are chosen the question of transformation is about


def chosen(labels: np.ndarray, names: Sequence[str], origin: str) -> tuple[str, ...]:
    """Six attributes by name, those of the question of transformation first. In place of one that too few photos have,
    or lack, the nearest.

    Args:
        labels: 0 or 1, [n, K].
        names: of the K attributes.
        origin: what errors call the set.

    Raises:
        UserError: if the set has neither an attribute nor what is near to it.
    """
    shares = dict(zip(names, labels.mean(0).tolist()))
    frequent = {name for name, share in shares.items() if LEAST_SHARE <= share <= 1 - LEAST_SHARE}
    found = []
    for candidates in (*_ONE_BY_ONE, *_FURTHER):
        fitting = [name for name in candidates if name in frequent]
        if not fitting:
            raise UserError(f"{origin} has no attribute {' or '.join(candidates)} that at least {LEAST_SHARE:.0%} of "
                            "its photos have and as many lack; study faces needs CelebA's attributes")
        found.append(fitting[0])
    return tuple(found)


def remark(found: Sequence[str]) -> str:
    """Which attributes stand for others that are too rare or missing, in half a sentence."""
    replaced = [f"{name} in place of {wanted[0]}" for name, wanted in zip(found, (*_ONE_BY_ONE, *_FURTHER))
                if name != wanted[0]]
    rare = f"which fewer than {LEAST_SHARE:.0%} of the photos have or lack"
    return f"{' and '.join(replaced)}, {rare}" if replaced else f"none stands for one {rare}"
