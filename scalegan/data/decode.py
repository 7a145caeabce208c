"""Where decoded pixels go."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from scalegan.data.manifest import ImageFormat


def pixel_buffer(count: int, image: ImageFormat) -> tuple[Tensor, np.ndarray]:
    """Room for images: a tensor, uint8 [N, C, H, W] in channels_last, and the same memory as an array [N, H, W, C].

    In a loader worker the memory is shared, so that handing it to the trainer copies nothing.
    """
    shape = (count, image.size, image.size, image.channels)
    if get_worker_info() is None:
        tensor = torch.empty(shape, dtype=torch.uint8)
    else:
        size = count * image.size * image.size * image.channels
        tensor = torch.tensor([], dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size)).view(shape)
    return tensor.permute(0, 3, 1, 2), tensor.numpy()
