"""DCGAN: the published sizes, shapes, initial weights, and what it refuses."""

import pytest
import torch
from torch import nn

from scalegan.models.dcgan import Discriminator, Generator
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.randomness import parameter_generators


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# pytorch/examples/dcgan (ngf = ndf = 64), and the widths of the paper's figure 1 (1024, 512, 256, 128 channels).
@pytest.mark.parametrize("width, of_g, of_d", [(64, 3_576_704, 2_765_568), (128, 12_658_432, 11_036_160)])
def test_golden_parameter_counts(width: int, of_g: int, of_d: int) -> None:
    assert parameters(Generator(64, 3, width, 100)) == of_g
    assert parameters(Discriminator(64, 3, width)) == of_d


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(resolution: int, channels: int) -> None:
    generator, critic = Generator(resolution, channels, 2, 8), Discriminator(resolution, channels, 2)
    images = generator(torch.randn(2, 8))
    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert critic(images).shape == (2,)
    first = next(m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d))
    assert first.weight.shape[1] == critic.head.weight.shape[1] == 2 * resolution // 8


@pytest.mark.parametrize("resolution", [8, 48, 512])
def test_other_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match=str(resolution)):
        Generator(resolution)
    with pytest.raises(ValueError, match=str(resolution)):
        Discriminator(resolution)


@pytest.mark.parametrize("network", [Generator(), Discriminator()], ids=["G", "D"])
def test_initial_weights_are_those_of_the_paper(network: nn.Module) -> None:
    """N(0, 0.02) for convolutions; BatchNorm's gains N(1, 0.02), biases zero."""
    network.initialise(parameter_generators(0, "G"))
    gains = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            n = module.weight.numel()
            assert module.bias is None
            assert abs(module.weight.mean()) < 4 * 0.02 / n**0.5
            assert module.weight.std().item() == pytest.approx(0.02, rel=4 / (2 * n) ** 0.5)
        if isinstance(module, GroupedBatchNorm):
            gains += 1
            n = module.weight.numel()
            assert abs(module.weight.mean() - 1) < 4 * 0.02 / n**0.5
            assert module.weight.std().item() == pytest.approx(0.02, rel=4 / (2 * n) ** 0.5)
            assert not module.bias.any()
    assert gains >= 3


def test_initial_weights_follow_the_seed_and_the_name_alone() -> None:
    def weights(seed: int, **sizes: int) -> dict[str, torch.Tensor]:
        generator = Generator(16, 3, 4, 8, **sizes)
        generator.initialise(parameter_generators(seed, "G"))
        return generator.state_dict()
    first, again, other = weights(0), weights(0), weights(1)
    assert all(first[name].equal(again[name]) for name in first)
    convolutions = [name for name, tensor in first.items() if tensor.dim() == 4]
    assert len(convolutions) == 3
    assert not any(first[name].equal(other[name]) for name in convolutions)
    conditional = weights(0, num_classes=3)
    assert len(conditional) == len(first) + 1
    assert all(first[name].equal(conditional[name]) for name in first)  # another layer does not change these


@pytest.mark.parametrize("make", [lambda **k: Generator(16, 3, 4, 8, **k), lambda **k: Discriminator(16, 3, 4, **k)],
                         ids=["G", "D"])
class TestLabels:
    """Both networks take class indices [N] or attributes [N, K]."""

    @staticmethod
    def run(network: nn.Module, labels: torch.Tensor | None) -> torch.Tensor:
        torch.manual_seed(0)
        inputs = torch.randn(4, 8) if isinstance(network, Generator) else torch.randn(4, 3, 16, 16)
        return network.eval()(inputs, labels)

    def test_classes_matter(self, make: object) -> None:
        network = make(num_classes=3)
        first, second = self.run(network, torch.tensor([0, 1, 2, 0])), self.run(network, torch.tensor([0, 1, 2, 1]))
        assert first[:3].equal(second[:3])
        assert not first[3].equal(second[3])

    def test_attributes_add_up(self, make: object) -> None:
        """One attribute alone is a class."""
        classes, attributes = make(num_classes=3), make(num_classes=3, multilabel=True)
        attributes.load_state_dict(classes.state_dict())
        indices = torch.tensor([2, 0, 1, 2])
        one_hot = torch.nn.functional.one_hot(indices, 3)
        torch.testing.assert_close(self.run(attributes, one_hot), self.run(classes, indices))

    @pytest.mark.parametrize("labels, says", [
        (None, "needs labels"),
        (torch.tensor([0, 1, 2, 3]), "3"),
        (torch.tensor([0, 1, 2, -1]), "-1"),
        (torch.zeros(4, 3), "class indices"),
        (torch.zeros(4), "class indices"),
    ], ids=["none", "too large", "negative", "one-hot", "floats"])
    def test_wrong_labels_are_refused(self, make: object, labels: torch.Tensor | None, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            self.run(make(num_classes=3), labels)

    def test_attributes_of_another_length_are_refused(self, make: object) -> None:
        with pytest.raises(ValueError, match="attributes"):
            self.run(make(num_classes=3, multilabel=True), torch.zeros(4, 2))


def test_psi_is_refused() -> None:
    generator = Generator(16, 3, 4, 8)
    generator(torch.randn(2, 8), psi=1.0)
    with pytest.raises(ValueError, match="truncation"):
        generator(torch.randn(2, 8), psi=0.7)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh", "softplus"])
def test_signals_keep_their_size_without_batchnorm(activation: str) -> None:
    """N(0, 2 / fan_in) at every layer; with N(0, 0.02), images would start at 1e-3."""
    generator = Generator(64, 3, 16, 64, norm=False, activation=activation)
    critic = Discriminator(64, 3, 16, norm=False, activation=activation)
    generator.initialise(parameter_generators(0, "G"))
    critic.initialise(parameter_generators(0, "D"))
    images = generator(torch.randn(16, 64, generator=torch.Generator().manual_seed(0)))
    assert 0.3 < images.std() < 0.95
    assert 0.1 < critic(torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))).std() < 3
    assert not any(isinstance(module, GroupedBatchNorm) for module in [*generator.modules(), *critic.modules()])
    assert all(module.bias is not None for module in [*generator.stem, *critic.features[2:]]
               if isinstance(module, nn.Conv2d | nn.ConvTranspose2d))


def test_without_batchnorm_a_sample_does_not_depend_on_its_batch() -> None:
    z, lone = torch.randn(4, 8), Generator(16, 3, 4, 8, norm=False)
    torch.testing.assert_close(lone(z)[:1], lone(z[:1]))
    together = Generator(16, 3, 4, 8, norm_group="batch")
    assert not torch.allclose(together(z)[:2], together(z[:2]), atol=1e-3)


def test_a_virtual_batch_without_a_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"virtual_batch=0"):
        Generator(16, 3, 4, 8, virtual=4, norm=False)
