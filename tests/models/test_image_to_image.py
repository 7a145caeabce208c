"""Networks from image to image: the published sizes, shapes of any image, and what they see."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from scalegan.models import patch, resnet_i2i, unet
from scalegan.models.layers.dropout import KeyedDropout
from scalegan.models.layers.padding import ReflectionPad, repeat_edges
from scalegan.randomness import parameter_generators

# Parameters of junyanz/pytorch-CycleGAN-and-pix2pix, by input and output channels.
GENERATORS = [
    (unet.Generator, {"levels": 7}, 41_828_995), (unet.Generator, {"levels": 8}, 54_413_955),
    (unet.Generator, {"levels": 7, "norm": "instance"}, 41_825_667),
    (unet.Generator, {"levels": 8, "norm": "instance"}, 54_409_603),
    (unet.Generator, {"inputs": 1, "outputs": 2, "levels": 7}, 41_824_898),
    (unet.Generator, {"inputs": 1, "outputs": 2, "levels": 8}, 54_409_858),
    (resnet_i2i.Generator, {"blocks": 6, "norm": "batch"}, 7_841_411),
    (resnet_i2i.Generator, {"blocks": 9, "norm": "batch"}, 11_383_427),
    (resnet_i2i.Generator, {"blocks": 6}, 7_837_699), (resnet_i2i.Generator, {"blocks": 9}, 11_378_179),
    (resnet_i2i.Generator, {"inputs": 1, "outputs": 2, "blocks": 6}, 7_828_290),
    (resnet_i2i.Generator, {"inputs": 1, "outputs": 2, "blocks": 9}, 11_368_770),
    (patch.Discriminator, {"inputs": 3}, 2_765_633), (patch.Discriminator, {"inputs": 6}, 2_768_705),
    (patch.Discriminator, {"inputs": 3, "norm": "instance"}, 2_764_737),
    (patch.Discriminator, {"inputs": 6, "norm": "instance"}, 2_767_809),
    (patch.Discriminator, {"inputs": 6, "layers": 1}, 139_585),
    (patch.Discriminator, {"inputs": 6, "layers": 5}, 11_159_361),
    (patch.Discriminator, {"inputs": 6, "layers": 0}, 9_024),
    (patch.Discriminator, {"inputs": 6, "scales": 3}, 3 * 2_768_705),
]
SMALL = {"U-Net": lambda **keys: unet.Generator(1, 2, 5, 4, **keys),
         "ResNet": lambda **keys: resnet_i2i.Generator(1, 2, 2, 4, **keys)}


@pytest.mark.parametrize("kind, keys, count", GENERATORS)
def test_golden_parameter_counts(kind: type[nn.Module], keys: dict, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in kind(**keys).parameters()) == count


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["instance", "instance_affine", "batch", "none"])
def test_images_of_any_size_have_answers_of_that_size(name: str, norm: str) -> None:
    network = SMALL[name](norm=norm).eval()
    for height, width in ((32, 32), (64, 96), (45, 33), (17, 130)):
        answer = network(torch.randn(2, 1, height, width))
        assert answer.shape == (2, 2, height, width) and answer.abs().max() <= 1


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["instance", "instance_affine"])
@pytest.mark.parametrize("training", [True, False])
def test_with_instance_norm_an_image_has_its_answer_whatever_else_is_in_the_batch(name: str, norm: str, training: bool,
                                                                                  ) -> None:
    network, images = SMALL[name](dropout=0.0, norm=norm).train(training), torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers, side", enumerate((1, 16, 34, 70, 142)))
def test_a_logit_sees_its_patch_and_nothing_else(layers: int, side: int) -> None:
    assert patch.field(layers) == side
    network, image = patch.Discriminator(1, layers=layers, width=2, norm="none"), torch.zeros(1, 1, 256, 256)
    network.initialise(parameter_generators(0, "D"))
    for parameter in network.parameters():      # so that no gradient vanishes
        parameter.data.abs_()
    image.requires_grad_()
    logits = network(image)[0]
    middle = logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2]
    seen = torch.autograd.grad(middle, image)[0][0, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == side


def smoothing(network: nn.Module) -> nn.Module:
    """The network with weights under which no pixel's influence vanishes, and no value saturates."""
    for layer in network.double().eval().modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            inputs = layer.in_channels * layer.kernel_size[0] ** 2
            layer.weight.data.fill_(1 / inputs)
            if layer.bias is not None:
                layer.bias.data.zero_()
    return network


@pytest.mark.slow
@pytest.mark.parametrize("network, reach, side", [
    (lambda norm: unet.Generator(1, 1, 5, 2, norm), 93, 288), (lambda norm: unet.Generator(1, 1, 6, 2, norm), 189, 448),
    (lambda norm: resnet_i2i.Generator(1, 1, 1, 2, norm), 20, 128),
    (lambda norm: resnet_i2i.Generator(1, 1, 6, 2, norm), 60, 192)],
    ids=["U-Net of 5 levels", "U-Net of 6 levels", "ResNet of 1 block", "ResNet of 6 blocks"])
def test_a_pixel_depends_on_those_within_reach_and_no_others(network: Callable[[str], nn.Module], reach: int,
                                                            side: int) -> None:
    made, image = smoothing(network("batch")), torch.full((1, 1, side, side), 0.5, dtype=torch.float64)
    assert made.reach == reach and network("instance").reach is None
    image.requires_grad_()
    answer, middle, farthest = made(image)[0, 0], side // 2 // made.multiple * made.multiple, 0
    for row in range(middle, middle + made.multiple):       # strided layers treat them differently
        seen = torch.autograd.grad(answer[row, middle], image, retain_graph=True)[0][0, 0].any(1).nonzero()
        farthest = max(farthest, row - seen.min().item(), seen.max().item() - row)
    assert farthest == reach


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("height, width", [(1, 1), (1, 500), (5, 7)])
def test_the_smallest_images_have_answers(name: str, norm: str, height: int, width: int) -> None:
    network = SMALL[name](norm=norm).eval()
    assert network(torch.randn(1, 1, height, width)).shape == (1, 2, height, width)


def test_further_scales_see_smaller_images() -> None:
    logits = patch.Discriminator(1, scales=3, layers=2, width=2)(torch.zeros(2, 1, 64, 64))
    assert [tuple(each.shape) for each in logits] == [(2, 1, 14, 14), (2, 1, 6, 6), (2, 1, 2, 2)]


@pytest.mark.parametrize("levels, dropouts", [(5, 1), (6, 2), (7, 3), (8, 3)])
def test_dropout_is_in_the_innermost_three_layers_of_the_decoder_as_published(levels: int, dropouts: int) -> None:
    with torch.device("meta"):
        network = unet.Generator(levels=levels)
    found = [any(isinstance(layer, KeyedDropout) for layer in stage) for stage in network.up]
    assert found == [True] * dropouts + [False] * (levels - 1 - dropouts)


def test_a_unet_has_as_many_levels_as_the_side_allows() -> None:
    assert [unet.levels_of(side) for side in (32, 48, 64, 128, 256, 512)] == [5, 5, 6, 7, 8, 8]
    with pytest.raises(ValueError, match=r"data\.resolution=32 or more"):
        unet.Generator(levels=unet.levels_of(16))


def test_padding_is_torchs() -> None:
    image = torch.randn(2, 3, 9, 7, requires_grad=True)
    assert torch.equal(ReflectionPad(3)(image), nn.functional.pad(image, (3,) * 4, mode="reflect"))
    assert torch.equal(repeat_edges(image, 8), nn.functional.pad(image, (0, 1, 0, 7), mode="replicate"))
    assert repeat_edges(image[:, :, :8, :4], 4).shape == (2, 3, 8, 4)


@pytest.mark.parametrize("network", [*(make() for make in SMALL.values()), patch.Discriminator(3, 2, width=8)],
                         ids=[*SMALL, "patches"])
def test_initial_weights_are_the_papers(network: nn.Module) -> None:
    network.initialise(parameter_generators(0, "G"))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * n) ** 0.5)
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("name", SMALL)
def test_instance_norm_with_gains_is_batchnorm_over_a_single_image(name: str) -> None:
    """With the weights of a network with BatchNorm, in training."""
    batch, affine = (SMALL[name](dropout=0.0, norm=norm) for norm in ("batch", "instance_affine"))
    affine.load_state_dict({key: value for key, value in batch.state_dict().items() if "running" not in key})
    image = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(affine.eval()(image), batch.train()(image), atol=1e-5, rtol=1e-4)
