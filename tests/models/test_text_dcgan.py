"""The networks of Reed et al.: sizes counted from the published table, and one forward pass written apart."""

import torch
import torch.nn.functional as F
from torch import Tensor

from scalegan.models import text_dcgan


def parameters(*layers: tuple[int, ...]) -> int:
    """Weights of (inputs, outputs, kernel, normed) without biases, and gain and bias of the norm, if there is one."""
    return sum(inputs * outputs * kernel**2 + 2 * outputs * normed for inputs, outputs, kernel, normed in layers)


def residual(channels: int) -> int:
    inner = channels // 4
    return parameters((channels, inner, 1, 1), (inner, inner, 3, 1), (inner, channels, 3, 1))


def test_the_published_sizes() -> None:
    """Texts of 1,024 numbers; the code sets the biases of its convolutions to zero before every update."""
    text = 1024 * 128 + 128
    g = text + parameters((228, 1024, 4, 1), (1024, 512, 4, 1), (512, 256, 4, 1), (256, 128, 4, 1), (128, 3, 4, 0)) \
        + residual(1024) + residual(512)
    d = text + 2 * 128 + parameters((3, 64, 4, 0), (64, 128, 4, 1), (128, 256, 4, 1), (256, 512, 4, 1),
                                    (640, 512, 1, 1), (512, 1, 4, 0)) + residual(512)
    for network, count in ((text_dcgan.Generator, g), (text_dcgan.Discriminator, d)):
        with torch.device("meta"):
            assert sum(p.numel() for p in network().parameters()) == count


class Published:
    """Both networks at 16 px with running statistics of 0 and 1, from their weights."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.w = iter(network.parameters())

    def normed(self, h: Tensor) -> Tensor:
        gain, bias = (next(self.w).view(1, -1, *[1] * (h.dim() - 2)) for _ in range(2))
        return h / (1 + 1e-5) ** 0.5 * gain + bias

    def residual(self, x: Tensor, active) -> Tensor:
        h = active(self.normed(F.conv2d(x, next(self.w))))
        h = active(self.normed(F.conv2d(h, next(self.w), padding=1)))
        return active(x + self.normed(F.conv2d(h, next(self.w), padding=1)))

    def generated(self, z: Tensor, text: Tensor) -> Tensor:
        text = F.leaky_relu(F.linear(text, next(self.w), next(self.w)), 0.2)
        h = self.normed(F.conv_transpose2d(torch.cat([z, text], 1)[:, :, None, None], next(self.w)))
        h = self.residual(h, F.relu)
        h = self.normed(F.conv_transpose2d(h, next(self.w), stride=2, padding=1))
        return torch.tanh(F.conv_transpose2d(self.residual(h, F.relu), next(self.w), stride=2, padding=1))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        def active(h: Tensor) -> Tensor:
            return F.leaky_relu(h, 0.2)
        h = active(F.conv2d(x, next(self.w), stride=2, padding=1))
        h = self.residual(self.normed(F.conv2d(h, next(self.w), stride=2, padding=1)), active)
        text = active(self.normed(F.linear(text, next(self.w), next(self.w))))
        tiled = text[:, :, None, None].repeat(1, 1, 4, 4)
        h = active(self.normed(F.conv2d(torch.cat([h, tiled], 1), next(self.w))))
        return F.conv2d(h, next(self.w))[:, 0, 0, 0]


def test_a_forward_pass_is_that_of_the_table() -> None:
    torch.manual_seed(0)
    generator = text_dcgan.Generator(16, width=8, latent_dim=5, vector_dim=7, text_dim=6).eval()
    discriminator = text_dcgan.Discriminator(16, width=8, vector_dim=7, text_dim=6).eval()
    for network in (generator, discriminator):
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    z, text = torch.randn(4, 5), F.normalize(torch.randn(4, 7))
    images = generator(z, text)
    assert images.std() > 0.05
    torch.testing.assert_close(images, Published(generator).generated(z, text))
    torch.testing.assert_close(discriminator(images, text), Published(discriminator).logits(images, text))
