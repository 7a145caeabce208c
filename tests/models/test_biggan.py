"""BigGAN: parameter counts, parity with the reference by golden numbers, and what training relies on."""

import itertools
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scalegan.interop import biggan_discriminator, biggan_generator
from scalegan.models.biggan import Discriminator, Generator
from scalegan.models.layers.biggan import truncate
from scalegan.models.layers.convolution import add_upsampled, conv2d, conv2d_then_mean, nearest_then_conv2d
from scalegan.models.layers.spectral import SpectralWeight, orthogonal_regularisation
from scalegan.models.layers.tracked import tracked_modules

SMALL = dict(resolution=64, width=4, latent_dim=20, shared_dim=6, num_classes=3, attention=(32,))


def keyed(name: str, *shape: int) -> torch.Tensor:
    """Normal draws in fp64 that depend only on the name and the shape."""
    draws = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(shape)
    return torch.from_numpy(np.asarray(draws))


def by_name(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def small_generator(**kwargs) -> Generator:
    model = Generator(**(SMALL | kwargs))
    model.initialise(by_name)
    return stirred(model)


def small_discriminator(**kwargs) -> Discriminator:
    model = Discriminator(**(dict(resolution=64, width=8, num_classes=3, attention=(32,)) | kwargs))
    model.initialise(by_name)
    return stirred(model)


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """With the attention's gamma moved away from zero, so that it has an effect."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.7)
    return model


# --- counts -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("arguments", "generator", "discriminator"), [
    pytest.param(dict(resolution=128, num_classes=1000), 70_433_988, 87_982_370, id="BigGAN-128 ch96"),
    pytest.param(dict(resolution=128, num_classes=1000, width=64), 31_978_628, 39_448_258, id="BigGAN-128 ch64"),
    pytest.param(dict(resolution=256, num_classes=1000), 82_097_604, 99_191_330, id="BigGAN-256 ch96"),
    pytest.param(dict(resolution=64, num_classes=1000), 31_866_116, 20_571_842, id="BigGAN-64 ch64"),
    pytest.param(dict(resolution=32, num_classes=10), 4_304_387, 4_207_361, id="the CIFAR script"),
])
def test_parameter_counts_are_the_references(arguments, generator, discriminator):
    with torch.device("meta"):
        assert parameters(Generator(**arguments)) == generator
        assert parameters(Discriminator(**arguments)) == discriminator


def test_512_px_has_a_generator_with_a_latent_of_eight_chunks():
    with torch.device("meta"):
        model = Generator(512, num_classes=1000)
    assert (model.chunk_dim, model.latent_dim, len(model.blocks)) == (16, 128, 7)


# --- parity: state dicts in the reference's names, golden numbers from ajbrock/BigGAN-PyTorch in fp64 ---------------

def normed(name: str, *shape: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    tensors = {f"{name}.weight": shape, f"{name}.u0": (1, shape[0]), f"{name}.sv0": (1,)}
    return tensors | ({f"{name}.bias": shape[:1]} if bias else {})


def attention_names(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    eighth, half = channels // 8, channels // 2
    return {f"{name}.gamma": (), **normed(f"{name}.theta", eighth, channels, 1, 1, bias=False),
            **normed(f"{name}.phi", eighth, channels, 1, 1, bias=False),
            **normed(f"{name}.g", half, channels, 1, 1, bias=False),
            **normed(f"{name}.o", channels, half, 1, 1, bias=False)}


def statistics(name: str, channels: int, variant: str) -> dict[str, tuple[int, ...]]:
    name = f"{name}.bn" if variant == "mybn" else name
    tensors = {f"{name}.stored_mean": (channels,), f"{name}.stored_var": (channels,)}
    return tensors | ({f"{name}.accumulation_counter": (1,)} if variant == "mybn" else {})


def generator_state(channels, classes, first, shared=0, chunk=0, attention=(), variant="bn"):
    """`channels` of the first map and after each block; `first` the inputs of the linear layer."""
    shapes = normed("linear", 16 * channels[0], first)
    if shared:
        shapes["shared.weight"] = (classes, shared)
    for i, (c, o) in enumerate(itertools.pairwise(channels)):
        for norm, width in (("bn1", c), ("bn2", o)):
            for part in ("gain", "bias"):
                name = f"blocks.{i}.0.{norm}.{part}"
                shapes |= (normed(name, width, shared + chunk, bias=False) if shared
                           else {f"{name}.weight": (classes, width)})
            shapes |= statistics(f"blocks.{i}.0.{norm}", width, variant)
        shapes |= normed(f"blocks.{i}.0.conv1", o, c, 3, 3) | normed(f"blocks.{i}.0.conv2", o, o, 3, 3)
        shapes |= normed(f"blocks.{i}.0.conv_sc", o, c, 1, 1)
        shapes |= attention_names(f"blocks.{i}.1", o) if i in attention else {}
    shapes |= {"output_layer.0.gain": channels[-1:], "output_layer.0.bias": channels[-1:]}
    return filled(shapes | statistics("output_layer.0", channels[-1], variant)
                  | normed("output_layer.2", 3, channels[-1], 3, 3))


def discriminator_state(channels, classes, down, attention=()):
    """`channels` after each block, of which `down` halve the resolution."""
    shapes, before = {}, 3
    for i, (o, halves) in enumerate(zip(channels, down)):
        shapes |= normed(f"blocks.{i}.0.conv1", o, before, 3, 3) | normed(f"blocks.{i}.0.conv2", o, o, 3, 3)
        shapes |= normed(f"blocks.{i}.0.conv_sc", o, before, 1, 1) if halves or before != o else {}
        shapes |= attention_names(f"blocks.{i}.1", o) if i in attention else {}
        before = o
    return filled(shapes | normed("linear", 1, before) | normed("embed", classes, before, bias=False))


def filled(shapes):
    state = {name: 0.3 * keyed(name, *shape) for name, shape in shapes.items()}
    for name, value in state.items():
        if name.endswith("stored_var"):
            state[name] = 0.5 + value.abs()
        elif name.endswith("accumulation_counter"):
            state[name] = torch.full_like(value, 2.0)
    return state


def fingerprint(model, value, *condition) -> list[float]:
    """Output (mean, spread, first), norm of the input's gradient, norm of all weights' gradient of its square."""
    value = value.requires_grad_()
    out = model(value, *condition)
    weights = keyed("weights", out.numel()).reshape(out.shape)
    gradient, = torch.autograd.grad((out * weights).sum(), value, create_graph=True)
    second = torch.autograd.grad(gradient.square().sum(), list(model.parameters()), allow_unused=True)
    total = torch.stack([g.square().sum() for g in second if g is not None]).sum().sqrt()
    return [v.item() for v in (out.mean(), out.std(), out.flatten()[0], gradient.norm(), total)]


GENERATORS = {
    "64 px, hierarchical, shared, attention at 32": (
        dict(channels=(64, 64, 32, 16, 8), classes=3, first=5, shared=6, chunk=5, attention=(2,)), 25),
    "32 px, the CIFAR script": (dict(channels=(16, 16, 16, 16), classes=3, first=12), 12),
    "32 px, shared, standing statistics": (
        dict(channels=(16, 16, 16, 16), classes=3, first=12, shared=6, variant="mybn"), 12),
}
DISCRIMINATORS = {
    "64 px, attention at 32": (dict(channels=(8, 16, 32, 64, 128), classes=3, down=(1, 1, 1, 1, 0),
                                    attention=(0,)), 64),
    "32 px": (dict(channels=(16, 16, 16, 16), classes=3, down=(1, 1, 0, 0)), 32),
}
# The same `fingerprint` of the reference's classes with these state dicts, in fp64 and eval mode.
GOLDEN = {
    "64 px, hierarchical, shared, attention at 32":
        [-0.022929481211, 0.60025362968, -0.56518213389, 30.277991674, 6610.0050712],
    "32 px, the CIFAR script":
        [0.0024028111223, 0.18566216267, -0.35143805527, 1.6497325742, 21.770865053],
    "32 px, shared, standing statistics":
        [0.012927758802, 0.1819050619, -0.2000075613, 7.897077535, 398.061736],
    "64 px, attention at 32":
        [-4.7156809176, 4.6754058148, -11.670652373, 0.11376295696, 0.059538945903],
    "32 px":
        [12.877549824, 24.714051725, -18.323758461, 2.4171319945, 22.525179651],
}


@pytest.mark.parametrize("case", GENERATORS)
def test_generator_computes_what_the_reference_does(case):
    arguments, latent_dim = GENERATORS[case]
    model = biggan_generator(generator_state(**arguments))
    assert model.latent_dim == latent_dim and not model.training
    found = fingerprint(model, keyed("z", 4, latent_dim), torch.tensor([0, 2, 1, 2]))
    assert found == pytest.approx(GOLDEN[case], rel=1e-8)


@pytest.mark.parametrize("case", DISCRIMINATORS)
def test_discriminator_computes_what_the_reference_does(case):
    arguments, size = DISCRIMINATORS[case]
    model = biggan_discriminator(discriminator_state(**arguments))
    found = fingerprint(model, keyed("x", 4, 3, size, size), torch.tensor([0, 2, 1, 2]))
    assert found == pytest.approx(GOLDEN[case], rel=1e-8)


def test_a_state_dict_of_another_shape_is_refused_in_a_sentence():
    state = generator_state(**GENERATORS["32 px, the CIFAR script"][0])
    for change, message in (({"linear.weight": torch.ones(7, 12)}, "should be"),
                            ({"surplus": torch.ones(1)}, "no counterpart"),
                            ({"blocks.1.0.bn1.stored_mean": None}, "stored_mean"),
                            ({"linear.bias": 3}, "not a tensor")):
        with pytest.raises(ValueError, match=message):
            biggan_generator({k: v for k, v in (state | change).items() if v is not None})
    with pytest.raises(ValueError, match="BigGAN-PyTorch's Discriminator"):
        biggan_discriminator(state | {"embed.weight": torch.ones(3, 16)})


# --- convolutions that absorb resampling ----------------------------------------------------------------------------

def test_resampling_merges_into_the_convolution_beside_it():
    x, w, b = keyed("x", 2, 5, 8, 8), keyed("w", 7, 5, 3, 3), keyed("b", 7)
    up = F.conv2d(F.interpolate(x, scale_factor=2), w, b, padding=1)
    assert torch.allclose(nearest_then_conv2d(x, w, b), up, rtol=1e-12)
    assert torch.allclose(conv2d_then_mean(x, w, b), F.avg_pool2d(F.conv2d(x, w, b, padding=1), 2), rtol=1e-12)
    assert torch.equal(add_upsampled(up[:, :5], x), up[:, :5] + F.interpolate(x, scale_factor=2))


def test_convolution_is_differentiable_to_third_order():
    x, w, b = (keyed(n, *s).requires_grad_() for n, s in (("x", (1, 2, 4, 3)), ("w", (4, 1, 3, 3)), ("b", (4,))))

    def cubed(x, w, b):
        return conv2d(x, w, b, padding=1, groups=2).pow(3)

    assert torch.autograd.gradcheck(cubed, (x, w, b))
    assert torch.autograd.gradgradcheck(cubed, (x, w, b))
    thirds = []
    for function in (conv2d, F.conv2d):
        first, = torch.autograd.grad(function(x, w, b, padding=1, groups=2).pow(3).sum(), x, create_graph=True)
        second, = torch.autograd.grad(first.pow(2).sum(), x, create_graph=True)
        thirds.append(torch.autograd.grad(second.pow(2).sum(), w)[0])
    assert torch.allclose(*thirds, rtol=1e-9)


# --- what training relies on ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_forward_changes_no_buffer_and_u_advances_once_per_update(num_classes):
    generator = small_generator(num_classes=num_classes, norm_group=2)
    discriminator = small_discriminator(num_classes=num_classes)
    labels = torch.tensor([0, 1, 2, 0]) if num_classes else None
    for model, inputs in ((generator, keyed("z", 4, generator.latent_dim).float()),
                          (discriminator, keyed("x", 4, 3, 64, 64).float())):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        model(inputs, labels)
        first, second = model.eval()(inputs, labels), model(inputs, labels)
        model.train()
        assert torch.equal(first, second)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        for module in tracked_modules(model):
            module.advance(**module.drain())
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert moved >= {k for k, v in model.named_buffers() if v.numel() > 1}      # u of one output is always +-1


def test_u_takes_one_power_iteration_per_advance():
    layer = SpectralWeight(6, 4)
    layer.initialise("layer", by_name, "normal")
    u, w = layer.u.double(), layer.weight.detach().double()
    v = F.normalize(u @ w, dim=0)
    u = F.normalize(w @ v, dim=0)
    assert torch.allclose(layer().double(), w / (u @ w @ v), rtol=1e-5)
    layer.advance()
    assert torch.allclose(layer.u.double(), u, rtol=1e-5)
    for _ in range(200):
        layer.advance()
    assert torch.linalg.matrix_norm(layer().detach(), 2).item() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_norm_groups_make_a_batch_of_32_two_batches_of_16(num_classes):
    model = small_generator(resolution=32, num_classes=num_classes, shared_dim=0, hierarchical=False, attention=())
    z = keyed("z", 32, model.latent_dim).float()
    labels = torch.arange(32) % 3 if num_classes else None
    halves = [model(z[h], labels if labels is None else labels[h]) for h in (slice(16), slice(16, 32))]
    assert torch.allclose(model(z, labels), torch.cat(halves), atol=1e-6)


def test_standing_in_for_classes_attributes_mix_their_embeddings():
    generator, discriminator = small_generator().eval(), small_discriminator()
    z, labels = keyed("z", 4, generator.latent_dim).float(), torch.tensor([0, 2, 1, 2])
    one_hot = F.one_hot(labels, 3)
    images = generator(z, labels)
    assert torch.allclose(generator(z, one_hot), images, atol=1e-6)
    assert torch.allclose(discriminator(images, one_hot.float()), discriminator(images, labels), atol=1e-4)


@pytest.mark.parametrize(("labels", "message"), [
    (None, "needs labels"), (torch.tensor([0, 3]), "label 3 is out of range"), (torch.tensor([-1, 0]), "label -1"),
    (torch.zeros(2, 4), "attributes"), (torch.zeros(2), "attributes"), (torch.tensor([0]), "2 class indices"),
])
def test_wrong_labels_are_refused(labels, message):
    generator, discriminator = small_generator(), small_discriminator()
    for model, shape in ((generator, (generator.latent_dim,)), (discriminator, (3, 64, 64))):
        with pytest.raises(ValueError, match=message):
            model(torch.zeros(2, *shape), labels)


@pytest.mark.parametrize(("build", "message"), [
    (lambda: Discriminator(512), "no discriminator for 512"), (lambda: Generator(48), "no generator for 48"),
    (lambda: Generator(64, attention=(48,)), "attention resolution 48"),
    (lambda: Generator(64, num_classes=3, shared_dim=0), "shared_dim"),
    (lambda: small_generator()(torch.zeros(1, 7), torch.tensor([0])), "latents must be"),
    (lambda: small_discriminator()(torch.zeros(1, 3, 32, 32)), "images must be"),
    (lambda: small_generator(num_classes=0)(torch.zeros(1, 20), torch.tensor([0])), "unconditional"),
    (lambda: small_generator(init="uniform"), "init must be"),
    (lambda: small_discriminator(width=4), "attention needs at least 8 channels"),
])
def test_what_the_family_does_not_have_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_initial_weights_depend_on_names_alone():
    one, other = small_generator(), small_generator(attention=())
    for name, value in other.state_dict().items():
        assert torch.equal(value, one.state_dict()[name])
    square = one.blocks[0].norm1.gain.normed.weight.detach()
    assert torch.allclose(square.T @ square, torch.eye(square.shape[1]), atol=1e-5)
    assert small_generator(init="normal").blocks[0].conv1.normed.weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_truncation_resamples_what_lies_beyond_the_threshold():
    z = keyed("truncated", 200_000).reshape(-1, 100)
    for psi in (0.04, 0.5, 2.0):
        again = truncate(z, psi)
        inside = z.abs() <= psi
        assert torch.equal(again[inside], z[inside]) and torch.equal(truncate(again, psi), again)
        # The distribution of a normal truncated to +-psi, by its quantiles.
        uniform = torch.special.erf(again / 2**0.5) / torch.special.erf(torch.tensor(psi / 2**0.5).double())
        quantiles = torch.quantile(uniform.flatten(), torch.linspace(0.05, 0.95, 7).double())
        assert torch.allclose(quantiles, torch.linspace(-0.9, 0.9, 7).double(), atol=0.01)
    assert truncate(z.float(), 1e-3).abs().max() <= 1e-3
    with pytest.raises(ValueError, match="positive"):
        truncate(z, 0)


def test_psi_truncates_and_one_leaves_z_alone():
    model = small_generator().eval()
    z, labels = 3 * keyed("z", 4, model.latent_dim).float(), torch.tensor([0, 2, 1, 2])
    assert torch.equal(model(z, labels, psi=0.5), model(truncate(z, 0.5), labels))
    assert torch.equal(model(z, labels, psi=1.0), model(z, labels))


def test_bf16_is_close_to_fp32_and_both_networks_give_fp32():
    generator, discriminator = small_generator(norm_group=4), small_discriminator()
    z, labels = keyed("z", 4, generator.latent_dim).float(), torch.tensor([0, 2, 1, 2])
    images = generator(z, labels)
    logits = discriminator(images, labels)
    with torch.autocast("cpu", torch.bfloat16):
        lower = generator(z, labels)
        lower_logits = discriminator(images, labels)
    assert lower.dtype == lower_logits.dtype == torch.float32
    assert (lower - images).abs().mean() < 0.05 and (lower_logits - logits).abs().max() < 0.05 * logits.abs().max()


def test_orthogonal_regularisation_has_the_published_gradient():
    weights = [keyed("w", 4, 3, 3, 3).requires_grad_(), keyed("v", 5, 2).requires_grad_()]
    gradients = torch.autograd.grad(orthogonal_regularisation(weights, 1e-4), weights)
    for weight, gradient in zip(weights, gradients):
        matrix = weight.detach().flatten(1)
        gram = matrix @ matrix.T
        expected = 1e-4 * 2 * (gram - gram.diag().diag()) @ matrix
        assert torch.allclose(gradient.flatten(1), expected, rtol=1e-10)
    with pytest.raises(ValueError, match="at least one"):
        orthogonal_regularisation([])
