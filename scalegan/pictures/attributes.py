"""Photos with other attributes, by networks that turn an image and its target labels into an image, such as StarGAN's.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.derived import DERIVED
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.errors import UsageError
from scalegan.games.stargan.labels import with_values
from scalegan.support.names import did_you_mean

_LONGEST = 8        # times the side of training: the longer side that a network sees at most


def check_names(option: str, asked: Iterable[str], known: Sequence[str], kind: str = "attribute") -> None:
    """Raises UsageError for a name that a network does not know."""
    for name in asked:
        if name not in known:
            raise UsageError(f"{option}: the network has no {kind} '{name}'{did_you_mean(name, known)}; it has "
                             f"{', '.join(known)}")


class Relabelling:
    """Gives photos some attributes, or a class.

    The network sees a photo with its shorter side as long as in training; what it changes is enlarged to the photo's
    size and added to it. Attributes that are not named stay as the classifier sees them in the middle, in the ratio of
    training.

    Args:
        network: (images, labels) -> images, as `scalegan.load` returns it.
        classifier: images -> the labels' logits; None where there is none.
        values: by name of an attribute, between 0 and 1; or the name of a class, with 1.

    Raises:
        UsageError: for an unknown name, or if the remaining attributes cannot be known.
    """

    def __init__(self, network: nn.Module, classifier: nn.Module | None, values: Mapping[str, float]) -> None:
        self.network, self.classifier, self.values = network, classifier, values
        spec = network.about["spec"]
        self.channels, *self.sides = spec["shape"]
        self.side = min(self.sides)
        self.names, self.device = network.names, next(network.parameters()).device
        self.classes = bool(spec["classes"])
        self._check()

    def _check(self) -> None:
        check_names("--set", self.values, self.names, "class" if self.classes else "attribute")
        if self.classes and list(self.values.values()) != [1]:
            raise UsageError(f"--set: an image has one class; name it, as in --set {self.names[0]}=1")
        missing = [name for name in self.names if name not in self.values]
        if missing and not self.classes and self.classifier is None:
            raise UsageError("--set: there is no classifier to tell which attributes photos have already; set all, "
                             f"{', '.join(missing)} too")

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The answer to a photo, uint8 [H, W, 3 or 1], in the photo's size."""
        photo = from_levels(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
        photo = DERIVED["grey"].make(photo) if self.channels == 1 else photo.expand(-1, 3, -1, -1)
        size, seen = photo.shape[2:], self._at_training_size(photo)
        answer = self.network(seen.to(self.device), self._targets(seen).to(self.device)).float().cpu()
        if answer.shape[2:] != size:
            answer = photo + F.interpolate(answer - seen, size, mode="bicubic")
        return to_uint8(answer)[0].permute(1, 2, 0).numpy()

    def _at_training_size(self, photo: Tensor) -> Tensor:
        height, width = photo.shape[2:]
        scale = min(self.side / min(height, width), _LONGEST * self.side / max(height, width))
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        return photo if size == [height, width] else F.interpolate(photo, size, mode="bicubic", antialias=True)

    def _targets(self, seen: Tensor) -> Tensor:
        """Labels [1] or [1, K] for the network."""
        if self.classes:
            return torch.tensor([self.names.index(name) for name in self.values])
        present = torch.zeros(1, len(self.names)) if self.classifier is None else self._present(seen)
        return with_values(present, self.names, self.values)

    def _present(self, seen: Tensor) -> Tensor:
        """The photo's own attributes, 0 or 1, [1, K]."""
        share = min(length / side for length, side in zip(seen.shape[2:], self.sides))
        height, width = (max(1, min(length, round(side * share))) for length, side in zip(seen.shape[2:], self.sides))
        top, left = (seen.shape[2] - height) // 2, (seen.shape[3] - width) // 2
        middle = seen[:, :, top : top + height, left : left + width]
        if [height, width] != self.sides:
            middle = F.interpolate(middle, self.sides, mode="bicubic")
        return (self.classifier(middle.to(self.device)).float().cpu() > 0).float()
