"""Photos with other attributes, by networks that turn an image and its target labels into an image, such as StarGAN's.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.data.derived import DERIVED
from scalegan.data.pixels import from_uint8, to_uint8
from scalegan.errors import UsageError
from scalegan.games.stargan.labels import with_values
from scalegan.support.names import did_you_mean

_LONGEST = 8        # times the side of training: the longer side that a network sees at most


class Relabelling:
    """Gives photos some attributes, or a class.

    The network sees a photo with its shorter side as long as in training; what it changes is enlarged to the photo's
    size and added to it. Attributes that are not named stay as the classifier sees them in the middle square.

    Args:
        network: (images, labels) -> images, as `scalegan.load` returns it.
        classifier: images -> the labels' logits; None where there is none.
        values: by name of an attribute, between 0 and 1; or the name of a class, with 1.

    Raises:
        UsageError: for an unknown name, or if the remaining attributes cannot be known.
    """

    def __init__(self, network: nn.Module, classifier: nn.Module | None, values: Mapping[str, float]) -> None:
        spec = network.about["spec"]
        self.network, self.classifier, self.values = network, classifier, values
        self.channels, self.side, _ = spec["shape"]
        self.names, self.device = network.names, next(network.parameters()).device
        kind = "class" if spec["classes"] else "attribute"
        for name in values:
            if name not in self.names:
                raise UsageError(f"--set: the network has no {kind} '{name}'{did_you_mean(name, self.names)}; it has "
                                 f"{', '.join(self.names)}")
        if kind == "class" and list(values.values()) != [1]:
            raise UsageError(f"--set: images have one class; name it as in --set {self.names[0]}=1")
        left = [name for name in self.names if name not in values]
        self.labels = torch.tensor([self.names.index(next(iter(values)))]) if kind == "class" else None
        if self.labels is None and classifier is None and left:
            raise UsageError(f"--set: nothing here tells which attributes a photo has already, as the file has no "
                             f"classifier; name all, also {', '.join(left)}")

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The answer to a photo, uint8 [H, W, 3 or 1], in the photo's size."""
        photo = from_uint8(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
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
        if self.labels is not None:
            return self.labels
        return with_values(self._present(seen), self.names, self.values)

    def _present(self, seen: Tensor) -> Tensor:
        """The photo's own attributes, 0 or 1, [1, K]."""
        if self.classifier is None:
            return torch.zeros(1, len(self.names))
        height, width = seen.shape[2:]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = seen[:, :, top : top + short, left : left + short]
        if short != self.side:
            square = F.interpolate(square, (self.side, self.side), mode="bicubic")
        return (self.classifier(square.to(self.device)).float().cpu() > 0).float()
