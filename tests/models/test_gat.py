"""GAT: parameter counts, parity with the reference by golden numbers, and what training relies on."""

import pytest
import torch

from scalegan.models.gat import SIZES, Discriminator, Generator

# Trained parameters of hse1032/GAT's networks for latents [4, 32, 32] and 1,000 classes, without G's embedding of an
# image, which is multiplied by zero, and without D's map to the features of another network.
COUNTS = {("S", 2): (29_256_512, 32_556_160), ("S", 8): (29_626_112, 32_924_800), ("B", 2): (116_545_088, 97_135_360),
          ("B", 4): (116_692_736, 97_282_816), ("L", 2): (408_469_024, 314_904_544),
          ("XL", 2): (601_936_640, 459_252_544)}


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("size, patch", COUNTS)
def test_parameter_counts_are_the_references(size: str, patch: int) -> None:
    sizes = dict(zip(("depth", "width", "heads"), SIZES[size]), patch=patch, num_classes=1000)
    with torch.device("meta"):
        networks = Generator((4, 32, 32), **sizes), Discriminator((4, 32, 32), **sizes)
    assert tuple(parameters(network) for network in networks) == COUNTS[size, patch]
