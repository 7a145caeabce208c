"""DCGAN: parameter counts, and pytorch/examples' weights in our networks against golden numbers."""

import itertools
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scalegan.interop import dcgan_discriminator, dcgan_generator
from scalegan.models.dcgan import Discriminator, Generator


def keyed(name: str, *shape: int) -> torch.Tensor:
    """Normal draws in fp64 that depend only on the name and the shape."""
    draws = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(shape)
    return torch.from_numpy(np.asarray(draws))


@pytest.mark.parametrize(("width", "generator", "discriminator"), [(64, 3_576_704, 2_765_568),
                                                                   (128, 12_658_432, 11_036_160)])
def test_parameter_counts_are_the_references(width, generator, discriminator):
    with torch.device("meta"):
        assert sum(p.numel() for p in Generator(width=width).parameters()) == generator
        assert sum(p.numel() for p in Discriminator(width=width).parameters()) == discriminator


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def generator_state(channels=(12, 32, 16, 8, 4, 3)):
    shapes = {}
    for i, (c, o) in enumerate(itertools.pairwise(channels)):
        shapes |= {f"main.{3 * i}.weight": (c, o, 4, 4)} | (norm(f"main.{3 * i + 1}", o) if o != channels[-1] else {})
    return filled(shapes)


def discriminator_state(channels=(3, 4, 8, 16, 32)):
    shapes = {"main.0.weight": (channels[1], channels[0], 4, 4)}
    for i, (c, o) in enumerate(itertools.pairwise(channels[1:])):
        shapes |= {f"main.{3 * i + 2}.weight": (o, c, 4, 4)} | norm(f"main.{3 * i + 3}", o)
    return filled(shapes | {"main.11.weight": (1, channels[-1], 4, 4)})


def filled(shapes):
    state = {name: 0.2 * keyed(name, *shape) for name, shape in shapes.items()}
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = 0.5 + value.abs()
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
    return state


def plain_generator(state, z):
    """pytorch/examples' layers one by one, as in the paper that its README names."""
    x = z[:, :, None, None]
    for i in range(5):
        x = F.conv_transpose2d(x, state[f"main.{3 * i}.weight"], stride=2 if i else 1, padding=1 if i else 0)
        if i < 4:
            x = F.relu(plain_norm(state, f"main.{3 * i + 1}", x))
    return torch.tanh(x)


def plain_discriminator(state, x):
    x = F.leaky_relu(F.conv2d(x, state["main.0.weight"], stride=2, padding=1), 0.2)
    for i in (2, 5, 8):
        x = F.conv2d(x, state[f"main.{i}.weight"], stride=2, padding=1)
        x = F.leaky_relu(plain_norm(state, f"main.{i + 1}", x), 0.2)
    return F.conv2d(x, state["main.11.weight"]).flatten()


def plain_norm(state, name, x):
    return F.batch_norm(x, *(state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")))


# Sum, sum of squares and first value in fp64, from the classes of pytorch/examples/dcgan/main.py with these weights.
GOLDEN = {
    "G": [-79.346775596, 65.123088732, -0.040065230432],
    "D": [0.49775842694, 0.083141698754, 0.1488123263],
}


def figures(x):
    return [x.sum().item(), x.square().sum().item(), x.flatten()[0].item()]


def test_the_generators_images_are_the_references():
    state, z = generator_state(), keyed("z", 3, 12)
    model = dcgan_generator(state)
    assert not model.training
    assert figures(model(z)) == pytest.approx(GOLDEN["G"], rel=1e-9)
    assert torch.allclose(model(z), plain_generator(state, z), rtol=1e-10)


def test_the_discriminators_logits_are_the_references():
    state, x = discriminator_state(), keyed("x", 3, 3, 64, 64)
    logits = dcgan_discriminator(state)(x)
    assert figures(torch.sigmoid(logits)) == pytest.approx(GOLDEN["D"], rel=1e-9)
    assert torch.allclose(logits, plain_discriminator(state, x), rtol=1e-10)


def test_gradients_are_the_references():
    state, x = discriminator_state(), keyed("x", 3, 3, 64, 64)
    model = dcgan_discriminator(state)
    model(x).sum().backward()
    learned = [value.requires_grad_() for name, value in state.items() if name.endswith(("weight", "bias"))]
    plain_discriminator(state, x).sum().backward()
    for ours, expected in zip((p.grad for p in model.parameters()), (v.grad for v in learned), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-9)


def test_loading_shares_nothing_with_the_state_dict_and_needs_no_memory_on_meta():
    state = generator_state()
    model = dcgan_generator(state)
    state["main.0.weight"].zero_()
    assert next(model.parameters()).any()
    assert next(dcgan_generator({k: v.to("meta") for k, v in state.items()}).parameters()).is_meta


@pytest.mark.parametrize(("change", "message"), [
    ({"main.4.bias": None}, "missing"), ({"main.3.weight": torch.ones(32, 5, 4, 4)}, "should be"),
    ({"extra": torch.ones(1)}, "no counterpart"), ({"netG": {}}, "not a tensor"),
])
def test_a_state_dict_of_another_shape_is_refused_in_a_sentence(change, message):
    state = {k: v for k, v in (generator_state() | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        dcgan_generator(state)
    with pytest.raises(ValueError, match="DCGAN discriminator"):
        dcgan_discriminator({})
