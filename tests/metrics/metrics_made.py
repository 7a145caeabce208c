"""Small image sets and extractors for the metrics tests."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

STUB_DIM = 8


class Stub(nn.Module):
    """A random projection of 4 x 4 averages, through a sine: a very cheap extractor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(48, 8, generator=torch.Generator().manual_seed(0)) / 20)

    def forward(self, images: Tensor) -> Tensor:
        small = torch.nn.functional.adaptive_avg_pool2d(images.float(), (4, 4))
        return torch.sin(small.flatten(1) @ self.weight)


def write_stub(path: Path) -> Path:
    torch.jit.script(Stub()).save(str(path))
    return path


def write_images(folder: Path, count: int, size: int = 16, first: int = 0, level: float = 128, grey: bool = False,
                 classes: int = 0) -> Path:
    """PNGs of smooth random colours around `level`; with classes in sub-folders, each with its own tint."""
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        coarse = generator.normal(level, 50, (4, 4, 1 if grey else 3))
        if classes:
            coarse[..., 0] += 80 * (number % classes)
        pixels = coarse.clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels[..., 0] if grey else pixels).resize((size, size), Image.Resampling.BICUBIC)
        target = folder / f"class{number % classes}" if classes else folder
        target.mkdir(parents=True, exist_ok=True)
        picture.save(target / f"{number:05d}.png")
    return folder


def write_inception(path: Path) -> Path:
    """Seeded random weights of torch-fidelity's Inception, scaled so that its features differ between images."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):
        def load_state_dict(self, state: dict, **options: object) -> None:
            """Keeps the initial weights."""

    torch.save({}, path)
    state = Bare("inception", ["2048"], feature_extractor_weights_path=str(path)).state_dict()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bn.bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    torch.save(state, path)
    return path
