"""dlib's network of face identities, ResNet with 29 convolutions (King, 2017), read from dlib's own file.

dlib runs it on CPUs at a sixth of the speed, and its packages without CUDA not on GPUs. The network is that of dlib's
examples/dnn_face_recognition_ex.cpp, which is in the public domain. Norms are folded into the convolutions.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 150                                  # px of the chips that it takes
LENGTH = 128
_MEAN = (122.782, 117.001, 104.298)         # of red, green and blue
_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))   # width, blocks, halves?


class Block(nn.Module):
    """Two convolutions and a shortcut, which is averaged where the first convolution halves the resolution. Whichever
    of the two has fewer channels, rows or columns is filled up with zeros."""

    def __init__(self, before: int, width: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.first = nn.Conv2d(before, width, 3, 2 if halves else 1, 0 if halves else 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        x = F.avg_pool2d(x, 2) if self.halves else x
        sizes = [max(pair) for pair in zip(x.shape[1:], y.shape[1:])]
        return F.relu(_filled(x, sizes) + _filled(y, sizes))


class Identity(nn.Module):
    """Chips of faces, uint8 or float 0 ... 255 [N, 3, 150, 150], to embeddings [N, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        blocks, before = [], 32
        for width, count, halves in _STAGES:
            for number in range(count):
                blocks.append(Block(before, width, halves and not number))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Linear(before, LENGTH, bias=False)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])

    def forward(self, chips: Tensor) -> Tensor:
        x = F.relu(self.stem((chips - self.mean) / 256))
        return self.out(self.blocks(F.max_pool2d(x, 3, 2)).mean((2, 3)))


def read(data: bytes) -> Identity:
    """The network with the weights of dlib_face_recognition_resnet_model_v1.dat.

    Raises:
        ValueError: if the bytes are not that file's.
    """
    network, file = Identity(), _File(data)
    with torch.no_grad():
        for convolution in (one for one in network.modules() if isinstance(one, nn.Conv2d)):
            weight, bias = np.split(file.tensor(b"\x05con_4"), [convolution.weight.numel()])
            gamma, beta = np.split(file.tensor(b"\x07affine_"), 2)
            weight = weight.reshape(convolution.weight.shape) * gamma[:, None, None, None]
            convolution.weight.copy_(torch.from_numpy(weight))
            convolution.bias.copy_(torch.from_numpy(bias * gamma + beta))
        weight = file.tensor(b"\x04fc_2", before=2)
        network.out.weight.copy_(torch.from_numpy(weight.reshape(-1, LENGTH).T.copy()))
    return network.eval().requires_grad_(False)


class _File:
    """dlib's serialisation, in which a layer is its name, and then its parameters, and layers follow in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def tensor(self, name: bytes, before: int = 0) -> np.ndarray:
        """The parameters of the next layer of that name, float32 [n], with `before` integers in front of them."""
        self.place = self.data.find(name, self.place) + len(name)
        if self.place < len(name):
            raise ValueError(f"it has no further layer {name[1:].decode()}")
        _, *sides = [self._integer() for _ in range(before + 5)][before:]      # of a tensor: a version, and four sides
        count = int(np.prod(sides))
        if 4 * count > len(self.data) - self.place:
            raise ValueError("it is cut off")
        values = np.frombuffer(self.data, "<f4", count, self.place)
        self.place += 4 * count
        return values

    def _integer(self) -> int:
        """The number of its bytes, and these, the lowest first; all that are read here are positive."""
        first = self.place + 1
        self.place = first + self.data[self.place]
        return int.from_bytes(self.data[first : self.place], "little")


def _filled(x: Tensor, sizes: list[int]) -> Tensor:
    channels, rows, columns = (size - own for size, own in zip(sizes, x.shape[1:]))
    return F.pad(x, (0, columns, 0, rows, 0, channels)) if channels or rows or columns else x
