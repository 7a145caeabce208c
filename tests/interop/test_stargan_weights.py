"""StarGAN's published weights in our networks: outputs and gradients against the networks written out by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_dcgan_parity import filled, keyed
from test_dcgan_parity import norm as norm_shapes
from torch import Tensor

import scalegan
from scalegan import interop
from scalegan.commands import translate
from scalegan.commands.convert import main
from scalegan.errors import UsageError, UserError

pytestmark = pytest.mark.slow
State = dict[str, Tensor]


def generator_state(labels: int = 5, blocks: int = 2, width: int = 4, channels: int = 3) -> State:
    """By the names of yunjey/stargan, with the running statistics that its instance norms store."""
    shapes = {"main.0.weight": (width, channels + labels, 7, 7), **norm_shapes("main.1", width)}
    for number, wide in ((3, 2 * width), (6, 4 * width)):
        shapes |= {f"main.{number}.weight": (wide, wide // 2, 4, 4), **norm_shapes(f"main.{number + 1}", wide)}
    for block in range(9, 9 + blocks):
        for layer in (0, 3):
            name = f"main.{block}.main"
            shapes |= {f"{name}.{layer}.weight": (4 * width, 4 * width, 3, 3),
                       **norm_shapes(f"{name}.{layer + 1}", 4 * width)}
    for number, narrow in ((9 + blocks, 2 * width), (12 + blocks, width)):
        shapes |= {f"main.{number}.weight": (2 * narrow, narrow, 4, 4), **norm_shapes(f"main.{number + 1}", narrow)}
    return filled(shapes | {f"main.{15 + blocks}.weight": (channels, width, 7, 7)})


def generated(state: State, x: Tensor, labels: Tensor) -> Tensor:
    """Table 4 of the paper, with statistics of each image."""
    def normed(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        whitened = centred / torch.sqrt(centred.square().mean((2, 3), keepdim=True) + 1e-5)
        return whitened * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    blocks = sum(name.endswith("main.0.weight") for name in state) - 1
    planes = labels[:, :, None, None] * torch.ones_like(x[:, :1])
    x = F.relu(normed("main.1", F.conv2d(torch.cat([x, planes], 1), state["main.0.weight"], padding=3)))
    for number in (3, 6):
        x = F.relu(normed(f"main.{number + 1}", F.conv2d(x, state[f"main.{number}.weight"], stride=2, padding=1)))
    for name in (f"main.{number}.main" for number in range(9, 9 + blocks)):
        y = F.relu(normed(f"{name}.1", F.conv2d(x, state[f"{name}.0.weight"], padding=1)))
        x = x + normed(f"{name}.4", F.conv2d(y, state[f"{name}.3.weight"], padding=1))
    for number in (9 + blocks, 12 + blocks):
        y = F.conv_transpose2d(x, state[f"main.{number}.weight"], stride=2, padding=1)
        x = F.relu(normed(f"main.{number + 1}", y))
    return torch.tanh(F.conv2d(x, state[f"main.{15 + blocks}.weight"], padding=3))


def discriminator_state(labels: int = 5, layers: int = 3, width: int = 4, side: int = 2, channels: int = 3) -> State:
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(layers):
        wide = width * 2**number
        shapes |= {f"main.{2 * number}.weight": (wide, wide // 2 if number else channels, 4, 4),
                   f"main.{2 * number}.bias": (wide,)}
    return filled(shapes | {"conv1.weight": (1, wide, 3, 3), "conv2.weight": (labels, wide, side, side)})


def discriminated(state: State, x: Tensor) -> Tensor:
    """Table 5: source and labels, in a row."""
    for number in range(0, sum(name.endswith("bias") for name in state) * 2, 2):
        x = F.conv2d(x, state[f"main.{number}.weight"], state[f"main.{number}.bias"], stride=2, padding=1)
        x = torch.where(x > 0, x, 0.01 * x)
    return torch.cat([F.conv2d(x, state["conv1.weight"], padding=1).flatten(1),
                      F.conv2d(x, state["conv2.weight"]).flatten(1)], 1)


def check_equal(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Outputs and gradients with respect to the input, relative to their largest values, in fp32."""
    x, answers, gradients = x.float().requires_grad_(), [], []
    for network in (ours, theirs):
        answers.append(network(x))
        weighted = answers[-1] * keyed("cotangent", *answers[-1].shape).to(x)
        gradients.append(torch.autograd.grad(weighted.sum(), x)[0])
    for mine, other in (answers, gradients):
        assert mine.shape == other.shape and other.abs().max() > 0
        assert (mine - other).abs().max() <= 1e-5 * other.abs().max()


def narrow(state: State) -> State:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("keys", [{}, {"labels": 8, "blocks": 6}, {"labels": 3, "blocks": 1, "channels": 1}],
                         ids=["5 labels", "8 labels, 6 blocks", "grey"])
def test_a_generator_is_the_published_one(keys: dict, prefix: str) -> None:
    state = narrow(generator_state(**keys))
    ours = interop.stargan_generator({prefix + name: value for name, value in state.items()})
    channels, labels = keys.get("channels", 3), keyed("labels", 2, keys.get("labels", 5)).float()
    check_equal(lambda x: ours(x, labels), lambda x: generated(state, x, labels), keyed("x", 2, channels, 12, 20))


@pytest.mark.parametrize("keys", [{}, {"labels": 8, "layers": 4}, {"side": 4, "channels": 1}],
                         ids=["2 x 2 patches", "8 labels, 4 layers", "4 x 4 patches, grey"])
def test_a_discriminator_is_the_published_one(keys: dict) -> None:
    state = narrow(discriminator_state(**keys))
    ours = interop.stargan_discriminator(state)
    side = keys.get("side", 2) << keys.get("layers", 3)
    check_equal(lambda x: torch.cat([part.flatten(1) for part in ours(x)], 1), lambda x: discriminated(state, x),
                keyed("x", 2, keys.get("channels", 3), side, side))


def files(folder: Path, labels: int = 5) -> list[str]:
    torch.save(narrow(generator_state(labels)), folder / "200000-G.ckpt")
    torch.save(narrow(discriminator_state(labels)), folder / "200000-D.ckpt")
    return [str(folder / "200000-G.ckpt"), "--family", "stargan", "--out", str(folder / "star.safetensors")]


def test_a_converted_file_gives_photos_attributes(tmp_path: Path) -> None:
    arguments = files(tmp_path)
    assert main([*arguments, f"discriminator={tmp_path / '200000-D.ckpt'}"]) == 0
    loaded = scalegan.load(tmp_path / "star.safetensors")
    assert loaded.names == ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
    assert loaded.about["spec"]["shape"] == [3, 16, 16]
    image, labels = torch.rand(1, 3, 16, 16), torch.eye(5)[:1]
    assert torch.allclose(loaded(image, labels), generated(narrow(generator_state()), image, labels), atol=1e-5)
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(tmp_path / "photo.png")
    photo = [str(tmp_path / "star.safetensors"), str(tmp_path / "photo.png"), "--out", str(tmp_path / "out")]
    assert translate.main([*photo, "--set", "Male=1"]) == 0
    with pytest.raises(UsageError, match="name some with --set"):
        translate.main(photo)

    assert main([*arguments, "classes=a,b,c,d,e", "--resolution", "32"]) == 0      # G alone
    assert scalegan.load(tmp_path / "star.safetensors").about["spec"]["classes"] == 5
    assert translate.main([*photo, "--set", "c=1"]) == 0
    assert Image.open(tmp_path / "out" / "photo.png").size == (20, 30)
    assert main(arguments) == 0
    with pytest.raises(UsageError, match="set all, Black_Hair, "):
        translate.main([*photo, "--set", "Male=1"])


@pytest.mark.parametrize("labels, settings, said", [
    (6, [], "has 6 labels, and 5 names"), (5, ["attributes=a,b"], "has 5 labels, and 2 names"),
    (5, ["attributes=a", "classes=b"], "give one of them"),
    (5, ["attributes=a,b,c,d,b"], "b names two labels"), (5, ["classes=a,,b,c,d"], "classes: 'a,,b,c,d' is not of the"),
    (5, ["discriminator=missing.ckpt"], "does not exist"),
    (5, ["atributes=a"], "unknown setting"),
])
def test_settings_that_do_not_fit_the_file_are_refused_in_a_line(labels: int, settings: list[str], said: str,
                                                                 tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        main([*files(tmp_path, labels), *settings])


def test_a_discriminator_of_other_labels_is_refused_in_a_line(tmp_path: Path) -> None:
    arguments = files(tmp_path)
    torch.save(narrow(discriminator_state(8)), tmp_path / "200000-D.ckpt")
    with pytest.raises(UserError, match="discriminator has 8 labels"):
        main([*arguments, f"discriminator={tmp_path / '200000-D.ckpt'}"])


def test_the_file_of_the_discriminator_is_told_from_the_generators(tmp_path: Path) -> None:
    arguments = files(tmp_path)
    with pytest.raises(UserError, match=r"convert the generator, such as 200000-G\.ckpt"):
        main([str(tmp_path / "200000-D.ckpt"), *arguments[1:]])
    with pytest.raises(UserError, match="use --family stargan, whose names these are"):
        main([arguments[0], "--family", "resnet_i2i", *arguments[3:]])
