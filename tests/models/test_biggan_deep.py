"""BigGAN-deep: parameter counts, parity with the reference by golden numbers, and where it differs from BigGAN."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from models.test_biggan import attention_names, by_name, filled, fingerprint, keyed, normed, parameters, statistics

from scalegan.interop import biggan_discriminator, biggan_generator
from scalegan.models.biggan_deep import Discriminator, DiscriminatorBlock, Generator, GeneratorBlock
from scalegan.models.layers.biggan import truncate
from scalegan.models.layers.conditional_norm import ConditionalBatchNorm
from scalegan.models.layers.spectral import Conv2d, Linear
from scalegan.models.layers.tracked import tracked_modules

SMALL = dict(resolution=32, width=4, num_classes=3)
LABELS = torch.tensor([0, 2, 1, 2])


def small_generator(**kwargs) -> Generator:
    model = Generator(**(SMALL | dict(latent_dim=10, shared_dim=6) | kwargs))
    model.initialise(by_name)
    return model


def small_discriminator(**kwargs) -> Discriminator:
    model = Discriminator(**(SMALL | kwargs))
    model.initialise(by_name)
    return model


# Measured on the classes of BigGANdeep.py in ajbrock/BigGAN-PyTorch, with hier, G_shared, dim_z=128, shared_dim=128.
@pytest.mark.parametrize(("arguments", "generator", "discriminator"), [
    pytest.param(dict(resolution=32, num_classes=10), 3_079_299, 651_649, id="32 px, ch64"),
    pytest.param(dict(resolution=64, num_classes=1000), 17_188_228, 5_755_138, id="64 px, ch64, attention at 32"),
    pytest.param(dict(resolution=128, num_classes=1000), 50_244_484, 34_590_210, id="128 px, the launch script"),
    pytest.param(dict(resolution=128, num_classes=1000, width=64), 17_405_892, 9_166_594, id="128 px, ch64"),
    pytest.param(dict(resolution=256, num_classes=1000), 55_736_708, 38_247_426, id="256 px, ch128"),
    pytest.param(dict(resolution=256, num_classes=1000, attention=(128,)), 55_490_948, 38_001_666,
                 id="256 px, ch128, attention at 128"),
])
def test_parameter_counts_are_the_references(arguments, generator, discriminator):
    with torch.device("meta"):
        assert parameters(Generator(**arguments)) == generator
        assert parameters(Discriminator(**arguments)) == discriminator


# --- parity: state dicts in the reference's names, golden numbers from ajbrock/BigGAN-PyTorch in fp64 ---------------

def convolutions(name, channels, inner, out):
    return (normed(f"{name}.conv1", inner, channels, 1, 1) | normed(f"{name}.conv2", inner, inner, 3, 3)
            | normed(f"{name}.conv3", inner, inner, 3, 3) | normed(f"{name}.conv4", out, inner, 1, 1))


def generator_state(channels, classes, latent, shared, attention=(), depth=2, variant="bn"):
    """`channels` of the first map and after each stage; `attention` follows these blocks."""
    shapes = normed("linear", 16 * channels[0], shared + latent) | {"shared.weight": (classes, shared)}
    pairs = [(c, o if last else c) for c, o in itertools.pairwise(channels)
             for last in [False] * (depth - 1) + [True]]
    for i, (c, o) in enumerate(pairs):
        shapes |= convolutions(f"blocks.{i}.0", c, c // 4, o)
        for k, width in enumerate([c, c // 4, c // 4, c // 4], 1):
            for part in ("gain", "bias"):
                shapes |= normed(f"blocks.{i}.0.bn{k}.{part}", width, shared + latent, bias=False)
            shapes |= statistics(f"blocks.{i}.0.bn{k}", width, variant)
        shapes |= attention_names(f"blocks.{i}.1", o) if i in attention else {}
    shapes |= {"output_layer.0.gain": channels[-1:], "output_layer.0.bias": channels[-1:]}
    return filled(shapes | statistics("output_layer.0", channels[-1], variant)
                  | normed("output_layer.2", 3, channels[-1], 3, 3))


def discriminator_state(channels, classes, attention=(), depth=2):
    """`channels` of the first convolution and after each stage; `attention` follows these stages."""
    shapes = normed("input_conv", channels[0], 3, 3, 3)
    for i, (c, o) in enumerate(itertools.pairwise(channels)):
        for k in range(depth):
            shapes |= convolutions(f"blocks.{i}.{k}", o if k else c, o // 4, o)
        shapes |= normed(f"blocks.{i}.0.conv_sc", o - c, c, 1, 1) if o > c else {}
        shapes |= attention_names(f"blocks.{i}.{depth}", o) if i in attention else {}
    return filled(shapes | normed("linear", 1, channels[-1]) | normed("embed", classes, channels[-1], bias=False))


GENERATORS = {
    "64 px, attention at 32": dict(channels=(64, 64, 32, 16, 8), classes=3, latent=10, shared=6, attention=(5,)),
    "32 px, attention at 8 and 32, standing statistics": dict(
        channels=(16, 16, 16, 16), classes=3, latent=12, shared=5, attention=(1, 5), variant="mybn"),
    "32 px, three blocks a stage": dict(channels=(16, 16, 16, 16), classes=3, latent=12, shared=5, depth=3),
}
DISCRIMINATORS = {
    "64 px, attention at 32": dict(channels=(8, 16, 32, 64, 128), classes=3, attention=(0,)),
    "32 px, attention at 16": dict(channels=(16, 16, 16, 16), classes=3, attention=(0, 1, 2)),
    "64 px, three blocks a stage": dict(channels=(4, 8, 16, 32, 64), classes=3, depth=3),
}
# The same `fingerprint` of the reference's classes with these state dicts, in fp64 and eval mode.
GOLDEN = {
    "G, 64 px, attention at 32":
        [0.0049810468612, 0.60070437957, -0.34330702241, 100.14571833, 196736.58716],
    "G, 32 px, attention at 8 and 32, standing statistics":
        [-0.015785223282, 0.37389233849, -0.035740547551, 150.55628323, 32399245.626],
    "G, 32 px, three blocks a stage":
        [-0.07765870141, 0.22417762526, -0.16452910849, 49.872252192, 21627.79708],
    "D, 64 px, attention at 32":
        [6.3267074892, 6.8032095447, -3.4893919929, 0.41157269295, 0.76287463449],
    "D, 32 px, attention at 16":
        [12.960182382, 31.14515449, 57.270187428, 2.9306628272, 32.887610568],
    "D, 64 px, three blocks a stage":
        [22.281417289, 2.4995954578, 25.696309134, 0.22119601812, 0.24459327983],
}


@pytest.mark.parametrize("case", GENERATORS)
def test_generator_computes_what_the_reference_does(case):
    arguments = GENERATORS[case]
    model = biggan_generator(generator_state(**arguments))
    assert isinstance(model, Generator) and not model.training
    assert (model.latent_dim, model.depth) == (arguments["latent"], arguments.get("depth", 2))
    found = fingerprint(model, keyed("z", 4, model.latent_dim), LABELS)
    assert found == pytest.approx(GOLDEN[f"G, {case}"], rel=1e-8)


@pytest.mark.parametrize("case", DISCRIMINATORS)
def test_discriminator_computes_what_the_reference_does(case):
    model = biggan_discriminator(discriminator_state(**DISCRIMINATORS[case]))
    assert isinstance(model, Discriminator) and not model.training
    found = fingerprint(model, keyed("x", 4, 3, model.resolution, model.resolution), LABELS)
    assert found == pytest.approx(GOLDEN[f"D, {case}"], rel=1e-8)


@pytest.mark.parametrize(("change", "message"), [
    ({"linear.weight": torch.ones(7, 11)}, "should be"), ({"surplus": torch.ones(1)}, "no counterpart"),
    ({"blocks.1.0.bn4.stored_mean": None}, "stored_mean"), ({"shared.weight": None}, "shared.weight"),
    ({"blocks.2.0.conv1.weight": torch.ones(4, 12, 1, 1)}, "have 16, 16, 12, 16, 16, 16 channels"),
    ({"blocks.2.0.conv1.weight": None}, "or a later one, is missing"),
])
def test_a_state_dict_of_another_shape_is_refused_in_a_sentence(change, message):
    state = generator_state((16, 16, 16, 16), classes=3, latent=5, shared=6) | change
    with pytest.raises(ValueError, match=message) as caught:
        biggan_generator({name: value for name, value in state.items() if value is not None})
    assert "\n" not in str(caught.value)


def test_weights_without_spectral_norm_are_taken_as_they_are():
    state = generator_state((16, 16, 16, 16), classes=3, latent=5, shared=6)
    plain = biggan_generator({name: value for name, value in state.items() if not name.endswith((".u0", ".sv0"))})
    assert torch.equal(plain.blocks[0].conv1.normed(), state["blocks.0.0.conv1.weight"])


# --- what is its own --------------------------------------------------------------------------------------------------

def without_branch(block: torch.nn.Module) -> torch.nn.Module:
    """The block in fp64 with a last convolution that gives zeros: what is left is its skip connection."""
    for name, module in block.double().named_modules():
        if isinstance(module, Conv2d | Linear):
            module.initialise(name, by_name, "orthogonal")
    torch.nn.init.zeros_(block.conv4.normed.weight)
    torch.nn.init.zeros_(block.conv4.bias)
    return block


def test_g_drops_the_channels_that_it_has_too_many():
    def norm(channels: int) -> ConditionalBatchNorm:
        return ConditionalBatchNorm(channels, Linear(5, channels, bias=False), Linear(5, channels, bias=False))

    x, condition = keyed("x", 2, 16, 4, 4), keyed("y", 2, 5)
    block = without_branch(GeneratorBlock(16, 8, norm, upsample=True, spectral=False))
    assert torch.equal(block(x, condition), F.interpolate(x[:, :8], scale_factor=2))


def test_d_keeps_its_channels_and_appends_those_that_are_missing():
    x = keyed("x", 2, 16, 4, 4)
    block = without_branch(DiscriminatorBlock(16, 24, downsample=True, spectral=False))
    found, mean = block(x), F.avg_pool2d(x, 2)
    assert found.shape == (2, 24, 2, 2) and torch.equal(found[:, :16], mean)
    assert torch.equal(found[:, 16:], block.shortcut(mean))
    assert without_branch(DiscriminatorBlock(16, 16, downsample=False, spectral=False))(x).equal(x)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_every_block_sees_the_whole_latent_and_the_class(num_classes):
    """Whatever its input: not through the blocks before it."""
    model, x = small_generator(num_classes=num_classes).eval(), keyed("x", 1, 16, 4, 4).float().expand(4, -1, -1, -1)
    z, labels = keyed("z", 4, 10).float().requires_grad_(), LABELS if num_classes else None
    here, elsewhere = (model._conditions(z, y)[1] for y in (labels, labels if labels is None else labels.roll(1)))
    for block, (condition,), (other,) in zip(model.blocks, here, elsewhere, strict=True):
        out = block(x, condition)
        gradient, = torch.autograd.grad((out * keyed("weights", *out.shape)).sum(), z, retain_graph=True)
        assert (gradient != 0).all()
        assert torch.equal(out, block(x, other)) == (num_classes == 0)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_forward_changes_no_buffer_and_an_update_advances_all(num_classes):
    labels = LABELS if num_classes else None
    for model, inputs in ((small_generator(num_classes=num_classes, norm_group=2), keyed("z", 4, 10).float()),
                          (small_discriminator(num_classes=num_classes), keyed("x", 4, 3, 32, 32).float())):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        model(inputs, labels)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        for module in tracked_modules(model):
            module.advance(**module.drain())
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert moved >= {k for k, v in model.named_buffers() if v.numel() > 1}      # u of one output is always +-1


def test_psi_truncates_and_the_directions_are_those_of_z():
    model = small_generator().eval()
    z = 3 * keyed("z", 4, 10).float()
    assert torch.equal(model(z, LABELS, psi=0.5), model(truncate(z, 0.5), LABELS))
    step = 0.01 * keyed("step", 10).float()
    first = [model.linear(model._conditions(at, LABELS)[0]) for at in (z, z + step)]
    assert torch.allclose(first[1] - first[0], (model.latent_weights() @ step).expand(4, -1), atol=1e-5)


def test_bf16_is_close_to_fp32_and_both_networks_give_fp32():
    generator, discriminator = small_generator(norm_group=4), small_discriminator()
    z = keyed("z", 4, 10).float()
    images = generator(z, LABELS)
    logits = discriminator(images, LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        lower = generator(z, LABELS)
        lower_logits = discriminator(images, LABELS)
    assert lower.dtype == lower_logits.dtype == torch.float32
    assert (lower - images).abs().mean() < 0.05 and (lower_logits - logits).abs().max() < 0.05 * logits.abs().max()


@pytest.mark.parametrize(("build", "message"), [
    (lambda: Generator(512), "BigGAN-deep has no generator for 512"),
    (lambda: Discriminator(48), "BigGAN-deep has no discriminator for 48"),
    (lambda: Generator(64, attention=(48,)), "attention resolution 48"),
    (lambda: Discriminator(64, attention=(64,)), "attention resolution 64"),
    (lambda: Discriminator(64, width=1, attention=()), "at least 4 channels, not 2; increase model.width"),
    (lambda: small_generator()(torch.zeros(1, 7), torch.tensor([0])), "latents must be"),
    (lambda: small_generator()(torch.zeros(1, 10)), "needs labels"),
])
def test_what_the_family_does_not_have_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
