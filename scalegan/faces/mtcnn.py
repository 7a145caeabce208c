"""The three networks of MTCNN (Zhang et al., 2016), with the weights that come inside facenet-pytorch (MIT)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scalegan.errors import UserError
from scalegan.faces.weights import packaged

_PACKAGE = "facenet_pytorch"


class Stage(nn.Module):
    """Layers one after another, and heads on the last: [N, 3, H, W] in [-1, 1] to what each head says.

    The first head gives logits of (no face, face); the second, how far each side of a face's box is from the window's,
    in widths and heights of the window; the third of O, x of five landmarks and then y, in the same unit, from the
    window's left and upper side. The names of layers are those of the weights.
    """

    def __init__(self, layers: Mapping[str, nn.Module], heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in {**layers, **heads}.items():
            self.add_module(name, layer)
        self.names, self.heads = tuple(layers), tuple(heads)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for name in self.names:
            x = self.get_submodule(name)(x)
        return tuple(self.get_submodule(name)(x) for name in self.heads)


class _Flat(nn.Module):
    """Flattens as the published Caffe networks do, columns first."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


def networks(device: torch.device) -> tuple[Stage, Stage, Stage]:
    """P, which is convolutional and sees windows of 12 px, two apart; R, for 24 px; and O, for 48 px.

    Raises:
        UserError: if the package is missing, or its files are not these weights.
    """
    return tuple(_with_weights(stage, f"data/{name}net.pt").to(device)
                 for name, stage in (("p", _proposals()), ("r", _refinement()), ("o", _output())))


def _proposals() -> Stage:
    return Stage({"conv1": nn.Conv2d(3, 10, 3), "prelu1": nn.PReLU(10), "pool1": _pool(2),
                  "conv2": nn.Conv2d(10, 16, 3), "prelu2": nn.PReLU(16),
                  "conv3": nn.Conv2d(16, 32, 3), "prelu3": nn.PReLU(32)},
                 {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)})


def _refinement() -> Stage:
    return Stage({"conv1": nn.Conv2d(3, 28, 3), "prelu1": nn.PReLU(28), "pool1": _pool(3),
                  "conv2": nn.Conv2d(28, 48, 3), "prelu2": nn.PReLU(48), "pool2": _pool(3),
                  "conv3": nn.Conv2d(48, 64, 2), "prelu3": nn.PReLU(64),
                  "flat": _Flat(), "dense4": nn.Linear(576, 128), "prelu4": nn.PReLU(128)},
                 {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)})


def _output() -> Stage:
    return Stage({"conv1": nn.Conv2d(3, 32, 3), "prelu1": nn.PReLU(32), "pool1": _pool(3),
                  "conv2": nn.Conv2d(32, 64, 3), "prelu2": nn.PReLU(64), "pool2": _pool(3),
                  "conv3": nn.Conv2d(64, 64, 3), "prelu3": nn.PReLU(64), "pool3": _pool(2),
                  "conv4": nn.Conv2d(64, 128, 2), "prelu4": nn.PReLU(128),
                  "flat": _Flat(), "dense5": nn.Linear(1152, 256), "prelu5": nn.PReLU(256)},
                 {"dense6_1": nn.Linear(256, 2), "dense6_2": nn.Linear(256, 4), "dense6_3": nn.Linear(256, 10)})


def _pool(size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(size, 2, ceil_mode=True)


def _with_weights(stage: Stage, file: str) -> Stage:
    path = packaged(_PACKAGE, file)
    try:
        stage.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:      # torch.load may raise anything on bad bytes
        raise UserError(f"{path} does not hold the weights of MTCNN ({str(error).strip().splitlines()[0]}); install "
                        "facenet-pytorch again") from error
    return stage.eval().requires_grad_(False)
