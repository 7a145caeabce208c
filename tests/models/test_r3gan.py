"""R3GAN: parameter counts, parity with the reference by golden numbers, and what training relies on."""

import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scalegan.interop import r3gan_discriminator, r3gan_generator
from scalegan.models.layers.tracked import tracked_modules
from scalegan.models.r3gan import SHAPES, Discriminator, Generator

SMALL = dict(resolution=32, width=16, cardinality=4, full_width_until=8)


def keyed(name: str, *shape: int) -> torch.Tensor:
    """Normal draws in fp64 that depend only on the name and the shape."""
    draws = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(shape)
    return torch.from_numpy(np.asarray(draws))


def by_name(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """Weights keyed by name; those that start at zero are moved away from it, so that they have an effect."""
    model.initialise(by_name)
    for name, parameter in model.named_parameters():
        if not parameter.any():
            parameter.data.copy_(0.1 * keyed(name, *parameter.shape))
    return model


# --- counts -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("shape", "num_classes", "generator", "discriminator"), [
    ("cifar10", 10, 20_781_952, 21_280_512),
    ("ffhq64", 0, 22_429_824, 22_381_440),
    ("ffhq256", 0, 23_057_952, 23_009_568),
    ("imagenet32", 1000, 82_914_304, 86_548_992),
    ("imagenet64", 1000, 103_570_432, 107_205_120),
])
def test_parameter_counts_are_the_references(shape, num_classes, generator, discriminator):
    with torch.device("meta"):
        assert parameters(Generator(**SHAPES[shape], num_classes=num_classes)) == generator
        assert parameters(Discriminator(**SHAPES[shape], num_classes=num_classes)) == discriminator


# --- parity: state dicts in the reference's names, golden numbers from brownvc/R3GAN in fp64 ------------------------

def stage(prefix: str, first: int, blocks: int, width: int, groups: int) -> dict[str, tuple[int, ...]]:
    """Residual blocks of expansion 2."""
    shapes = {}
    for i in range(first, first + blocks):
        name, inner = f"{prefix}.Layers.{i}", 2 * width
        shapes |= {f"{name}.LinearLayer1.Layer.weight": (inner, width, 1, 1), f"{name}.NonLinearity1.Bias": (inner,),
                   f"{name}.LinearLayer2.Layer.weight": (inner, inner // groups, 3, 3),
                   f"{name}.NonLinearity2.Bias": (inner,), f"{name}.LinearLayer3.Layer.weight": (width, inner, 1, 1)}
    return shapes


def generator_state(widths, groups, blocks, latent, classes=0, embedding=0):
    shapes = {"MainLayers.0.Layers.0.Basis": (widths[0], 4, 4),
              "MainLayers.0.Layers.0.LinearLayer.weight": (widths[0], latent + embedding),
              "AggregationLayer.Layer.weight": (3, widths[-1], 1, 1)}
    for i, (width, count) in enumerate(zip(widths, blocks)):
        shapes |= stage(f"MainLayers.{i}", 1, count, width, groups[i])
        if i:
            shapes[f"MainLayers.{i}.Layers.0.Resampler.Kernel"] = (4, 4)
            if width != widths[i - 1]:
                shapes[f"MainLayers.{i}.Layers.0.LinearLayer.Layer.weight"] = (width, widths[i - 1], 1, 1)
    return filled(shapes | ({"EmbeddingLayer.weight": (embedding, classes)} if classes else {}))


def discriminator_state(widths, groups, blocks, classes=0, embedding=1):
    """From the highest resolution down."""
    shapes = {"ExtractionLayer.Layer.weight": (widths[0], 3, 1, 1)}
    for i, (width, count) in enumerate(zip(widths, blocks)):
        shapes |= stage(f"MainLayers.{i}", 0, count, width, groups[i])
        end = f"MainLayers.{i}.Layers.{count}"
        if i < len(widths) - 1:
            shapes[f"{end}.Resampler.Kernel"] = (4, 4)
            if width != widths[i + 1]:
                shapes[f"{end}.LinearLayer.Layer.weight"] = (widths[i + 1], width, 1, 1)
        else:
            shapes |= {f"{end}.Basis.weight": (width, 1, 4, 4), f"{end}.LinearLayer.weight": (embedding, width)}
    return filled(shapes | ({"EmbeddingLayer.weight": (embedding, classes)} if classes else {}))


def filled(shapes):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return {name: torch.outer(taps, taps) if name.endswith("Kernel") else 0.3 * keyed(name, *shape)
            for name, shape in shapes.items()}


def fingerprint(model, value, *condition) -> list[float]:
    """Output (mean, spread, first), norm of the input's gradient, norm of all weights' gradient of its square."""
    value = value.requires_grad_()
    out = model(value, *condition)
    weights = keyed("weights", out.numel()).reshape(out.shape)
    gradient, = torch.autograd.grad((out * weights).sum(), value, create_graph=True)
    second = torch.autograd.grad(gradient.square().sum(), list(model.parameters()), allow_unused=True)
    total = torch.stack([g.square().sum() for g in second if g is not None]).sum().sqrt()
    return [v.item() for v in (out.mean(), out.std(), out.flatten()[0], gradient.norm(), total)]


SHAPE = dict(widths=(16, 16, 8, 4), groups=(4, 4, 2, 1), blocks=(1, 2, 2, 1))
MIRRORED = {name: values[::-1] for name, values in SHAPE.items()}
CASES = {"unconditional": ({}, {}), "conditional": (dict(classes=3, embedding=5), dict(classes=3, embedding=7))}
# The same `fingerprint` of the reference's classes with these state dicts, in fp64.
GOLDEN = {
    ("unconditional", "G"):
        [-0.80689731918, 2.9803875227, 0.072656650795, 255.13558752, 859291.33963],
    ("unconditional", "D"):
        [0.097590027033, 0.21374603875, -0.097154766724, 2.0127281261, 34.459036038],
    ("conditional", "G"):
        [-0.91434631721, 2.9810029744, 0.049952150979, 334.49779561, 939256.66796],
    ("conditional", "D"):
        [0.87738603461, 2.8445322356, -1.4444143011, 1.5119902617, 23.920716156],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wrapper", ["", "Model."])
def test_the_networks_compute_what_the_references_do(case, wrapper):
    for_generator, for_discriminator = CASES[case]
    labels = (torch.tensor([0, 2, 1, 2]),) if case == "conditional" else ()
    state = generator_state(**SHAPE, latent=6, **for_generator)
    generator = r3gan_generator({wrapper + name: value for name, value in state.items()})
    assert generator.latent_dim == 6 and not generator.training
    assert fingerprint(generator, keyed("z", 4, 6), *labels) == pytest.approx(GOLDEN[case, "G"], rel=1e-8)
    state = discriminator_state(**MIRRORED, **for_discriminator)
    discriminator = r3gan_discriminator({wrapper + name: value for name, value in state.items()})
    assert fingerprint(discriminator, keyed("x", 4, 3, 32, 32), *labels) == pytest.approx(GOLDEN[case, "D"], rel=1e-8)


def test_a_state_dict_of_another_shape_is_refused_in_a_sentence():
    state = generator_state(**SHAPE, latent=6)
    for change, message in (({"AggregationLayer.Layer.weight": torch.ones(3, 5, 1, 1)}, "should be"),
                            ({"surplus": torch.ones(1)}, "no counterpart"),
                            ({"MainLayers.1.Layers.1.NonLinearity2.Bias": None}, "NonLinearity2.Bias"),
                            ({"MainLayers.1.Layers.0.Resampler.Kernel": torch.ones(4, 4) / 16}, "filter")):
        with pytest.raises(ValueError, match=message):
            r3gan_generator({k: v for k, v in (state | change).items() if v is not None})
    with pytest.raises(ValueError, match="R3GAN's Discriminator"):
        r3gan_discriminator(state)


# --- what training relies on ----------------------------------------------------------------------------------------

def test_every_block_starts_as_the_identity_and_weights_have_the_papers_spread():
    model = Generator(**SMALL | dict(width=64))
    model.initialise(by_name)
    x = keyed("x", 2, 64, 4, 4).float()
    assert torch.equal(model.stages[0](x), x)
    gain = (2 / 1.04) ** 0.5 * 8**-0.25                             # eight blocks
    block = model.stages[0][0]
    assert block.expand.weight.std().item() == pytest.approx(gain / 64**0.5, rel=0.03)
    assert block.mix.weight.std().item() == pytest.approx(gain / (128 // 4 * 9) ** 0.5, rel=0.03)
    assert model.basis.std().item() == pytest.approx(1, rel=0.1)


def test_initial_weights_depend_on_names_alone():
    one, other = Generator(**SMALL), Generator(**SMALL, blocks=1)
    for model in (one, other):
        model.initialise(by_name)
    shared = other.stages[2][0].mix.weight
    assert torch.allclose(shared * 4**0.25, one.stages[2][0].mix.weight * 8**0.25, rtol=1e-5)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_both_networks_are_twice_differentiable_and_hold_no_moving_state(num_classes):
    labels = torch.tensor([0, 2]) if num_classes else None
    for model, shape in ((stirred(Generator(**SMALL, num_classes=num_classes)), (2, 64)),
                         (stirred(Discriminator(**SMALL, num_classes=num_classes)), (2, 3, 32, 32))):
        model.double()
        value = keyed("value", *shape).requires_grad_()
        gradient, = torch.autograd.grad(model(value, labels).square().sum(), value, create_graph=True)
        direction = keyed("direction", *shape)
        second, = torch.autograd.grad((gradient * direction).sum(), value)
        step = 1e-5 * direction
        ends = [torch.autograd.grad(model(v, labels).square().sum(), v)[0]
                for v in ((value + s).detach().requires_grad_() for s in (step, -step))]
        assert torch.allclose((ends[0] - ends[1]) / 2e-5, second, rtol=1e-4, atol=1e-4 * second.abs().max().item())
        assert not list(tracked_modules(model)) and not list(model.buffers())


def test_attributes_mix_the_embeddings_of_classes():
    generator, discriminator = (stirred(c(**SMALL, num_classes=3)) for c in (Generator, Discriminator))
    z, labels = keyed("z", 4, 64).float(), torch.tensor([0, 2, 1, 2])
    images = generator(z, labels)
    assert torch.allclose(generator(z, F.one_hot(labels, 3)), images, atol=1e-5)
    logits = discriminator(images, labels)
    assert logits.shape == (4,) and torch.allclose(discriminator(images, F.one_hot(labels, 3)), logits, rtol=1e-4)


@pytest.mark.parametrize(("labels", "message"), [
    (None, "needs labels"), (torch.tensor([0, 3]), "label 3 is out of range"), (torch.zeros(2, 4), "attributes"),
])
def test_wrong_labels_are_refused(labels, message):
    generator, discriminator = (c(**SMALL, num_classes=3) for c in (Generator, Discriminator))
    for model, shape in ((generator, (64,)), (discriminator, (3, 32, 32))):
        with pytest.raises(ValueError, match=message):
            model(torch.zeros(2, *shape), labels)


@pytest.mark.parametrize(("build", "message"), [
    (lambda: Generator(48), "power of two"), (lambda: Generator(32, widths=(8, 8)), "32 px need 4 stages"),
    (lambda: Generator(32, width=10, cardinality=3), "groups"),
    (lambda: Generator(**SMALL)(torch.zeros(1, 64), psi=0.7), "no truncation"),
    (lambda: Generator(**SMALL)(torch.zeros(1, 5)), "latents must be"),
    (lambda: Discriminator(**SMALL)(torch.zeros(1, 3, 16, 16)), "images must be"),
])
def test_what_the_family_does_not_have_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_bf16_stays_in_the_highest_resolutions():
    generator, discriminator = (stirred(c(**SMALL)) for c in (Generator, Discriminator))
    z = keyed("z", 4, 64).float()
    images = generator(z)
    logits = discriminator(images)
    seen = []
    for stages in (generator.stages, discriminator.stages[::-1]):
        for one in stages:
            one.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        lower = generator(z)
        lower_logits = discriminator(images)
    assert seen == [torch.float32, *[torch.bfloat16] * 6, torch.float32]         # up from 4 px, then down to it
    assert lower.dtype == lower_logits.dtype == torch.float32
    assert (lower - images).norm() < 0.05 * images.norm()
    assert (lower_logits - logits).norm() < 0.1 * logits.norm()
