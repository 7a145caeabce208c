"""Finds faces in photos, and five landmarks in each, by MTCNN (Zhang et al., 2016)."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.ops import nms

from scalegan.faces import mtcnn

_LARGEST, _SMALLEST = 1280, 160     # px; longer sides are seen reduced, shorter ones enlarged
_FACE = 20                          # px, after that; smaller faces are not looked for
_FACTOR = 0.709                     # from one level of the pyramid to the next: half the area
_WINDOW, _STRIDE = 12, 2            # of P
_THRESHOLDS = (0.6, 0.7, 0.7)
_AT_ONCE = 512                      # windows that R and O see together, to bound memory


@dataclass(frozen=True)
class Face:
    """A face in a photo; (0, 0) is the photo's upper left corner, and a pixel 1 wide.

    Args:
        box: left, top, right and bottom in px; may reach beyond the photo.
        score: the probability of a face, by the last network.
        landmarks: float32 [5, 2], x and y in px of the eyes, the nose and the corners of the mouth. The eye and the
            corner that are on the left in the photo come first.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray


class Detector:
    """Three networks, each of which refines and thins out the windows of the one before.

    Photos of any size are seen with sides of at most 1,280 px, so that the smallest faces found are a 64th of a large
    photo's longer side, and small photos enlarged. What is found does not depend on other photos.

    Raises:
        UserError: if the package with the weights is missing.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.P, self.R, self.O = mtcnn.networks(self.device)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> list[Face]:
        """The faces in uint8 [H, W, 3 or 1], largest first; none if there are none."""
        height, width = pixels.shape[:2]
        seen = _sized(pixels)
        image = torch.from_numpy(np.ascontiguousarray(seen)).to(self.device).movedim(2, 0)
        image = image.float().sub(127.5).div(128).expand(3, -1, -1)
        boxes, scores, landmarks = self._final(image, self._refined(image, self._proposed(image)))
        scale = torch.tensor([width / seen.shape[1], height / seen.shape[0]])
        boxes, scores, landmarks = boxes.cpu() * scale.repeat(2), scores.tolist(), landmarks.cpu() * scale
        sides = boxes[:, 2:] - boxes[:, :2]
        return [Face(tuple(boxes[i].tolist()), scores[i], landmarks[i].numpy())
                for i in sides.prod(1).argsort(descending=True, stable=True).tolist()]

    def _proposed(self, image: Tensor) -> Tensor:
        """Squares [n, 4] that P takes for faces, at any level of the pyramid."""
        levels, scale = [], _WINDOW / _FACE
        while min(image.shape[1:]) * scale >= _WINDOW:
            levels.append(self._level(image, scale))
            scale *= _FACTOR
        if not levels:
            return torch.empty(0, 4, device=self.device)
        windows, scores, offsets = (torch.cat(parts) for parts in zip(*levels))
        kept = nms(windows, scores, 0.7)
        windows = windows[kept]
        return _square(windows + offsets[kept] * (windows[:, 2:] - windows[:, :2]).repeat(1, 2))

    def _level(self, image: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Windows [n, 4], scores and offsets of P where it sees the image at one scale."""
        sides = [int(side * scale + 1) for side in image.shape[1:]]
        logits, offsets = self.P(interpolate(image[None], sides, mode="area"))
        scores = logits[0].softmax(0)[1]
        rows, columns = (scores >= _THRESHOLDS[0]).nonzero(as_tuple=True)
        scores, offsets = scores[rows, columns], offsets[0, :, rows, columns].T
        first = _STRIDE * torch.stack([columns, rows], 1)
        windows = torch.cat([first + 1, first + _WINDOW], 1).div(scale).floor()
        kept = nms(windows, scores, 0.5)
        return windows[kept], scores[kept], offsets[kept]

    def _refined(self, image: Tensor, boxes: Tensor) -> Tensor:
        """The squares [n, 4] that R takes for faces, moved."""
        boxes, (logits, offsets) = _seen(self.R, image, boxes, 24)
        scores = logits.softmax(1)[:, 1]
        likely = scores > _THRESHOLDS[1]
        kept = likely.nonzero()[:, 0][nms(boxes[likely], scores[likely], 0.7)]
        return _square(_moved(boxes[kept], offsets[kept]))

    def _final(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [n, 4], scores [n] and landmarks [n, 5, 2] of what O takes for faces."""
        boxes, (logits, offsets, points) = _seen(self.O, image, boxes, 48)
        scores = logits.softmax(1)[:, 1]
        likely = scores > _THRESHOLDS[2]
        boxes, scores, offsets, points = boxes[likely], scores[likely], offsets[likely], points[likely]
        landmarks = boxes[:, None, :2] - 1 + points.view(-1, 2, 5).mT * _sides(boxes)[:, None]
        boxes = _moved(boxes, offsets)
        kept = _apart(boxes, scores)
        return boxes[kept], scores[kept], landmarks[kept]


def _sized(pixels: np.ndarray) -> np.ndarray:
    height, width, channels = pixels.shape
    scale = min(max(1, _SMALLEST / min(height, width)), _LARGEST / max(height, width))
    if scale == 1:
        return pixels
    size = [max(1, round(side * scale)) for side in (width, height)]
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return np.array(picture.resize(size, Image.Resampling.BICUBIC)).reshape(size[1], size[0], channels)


# Boxes hold left, top, right and bottom, counted from 1, and have the pixels of both ends: as the networks were trained
# in Matlab.

def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2] + 1


def _moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    return boxes + offsets * _sides(boxes).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """The squares around the boxes, of their longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.amax(1, keepdim=True)
    first = boxes[:, :2] + (sides - longer) / 2
    return torch.cat([first, first + longer], 1)


def _seen(stage: mtcnn.Stage, image: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, list[Tensor]]:
    """The boxes [n, 4] that lie in the image, at least in part, and what a network says of each."""
    height, width = image.shape[1:]
    left, top, right, bottom = boxes.trunc().int().T
    left, top, right, bottom = left.clamp(1) - 1, top.clamp(1) - 1, right.clamp(max=width), bottom.clamp(max=height)
    inside = (right > left) & (bottom > top)
    corners = torch.stack([left, top, right, bottom], 1)[inside].tolist()
    answers = [stage(torch.empty(0, 3, size, size, device=image.device))]
    for first in range(0, len(corners), _AT_ONCE):
        answers.append(stage(torch.cat([interpolate(image[None, :, y0:y1, x0:x1], (size, size), mode="area")
                                        for x0, y0, x1, y1 in corners[first : first + _AT_ONCE]])))
    return boxes[inside], [torch.cat(parts) for parts in zip(*answers)]


def _apart(boxes: Tensor, scores: Tensor) -> list[int]:
    """Which boxes to keep, best first, so that none has more than 0.7 of the smaller one's area in common with a better
    one."""
    areas, kept = _sides(boxes).prod(1), []
    for number in scores.argsort(descending=True, stable=True).tolist():
        first = torch.maximum(boxes[number, :2], boxes[kept, :2])
        last = torch.minimum(boxes[number, 2:], boxes[kept, 2:])
        common = (last - first + 1).clamp(min=0).prod(1)
        if not (common > 0.7 * torch.minimum(areas[number], areas[kept])).any():
            kept.append(number)
    return kept
