"""Published networks from image to image, written out from their papers: tensors by the published names, and what the
networks compute with them."""

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from test_dcgan_parity import filled
from test_dcgan_parity import norm as norm_shapes
from torch import Tensor

State = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

# --- junyanz/pytorch-CycleGAN-and-pix2pix -----------------------------------------------------------------------------


def layer_shapes(name: str, shape: tuple[int, ...], norm: str, norm_name: str, channels: int) -> Shapes:
    """A convolution and the norm after it: BatchNorm takes its bias away, and so does the lack of a norm."""
    shapes: Shapes = {f"{name}.weight": shape}
    if "instance" in norm:
        shapes[f"{name}.bias"] = (channels,)
    if norm == "batch":
        shapes |= norm_shapes(norm_name, channels)
    if norm == "old instance":
        shapes |= {name: shape for name, shape in norm_shapes(norm_name, channels).items()
                   if name.split(".")[-1] not in ("weight", "bias")}
    return shapes


def resnet_state(norm: str, blocks: int, dropout: bool, inputs: int = 3, outputs: int = 3, width: int = 4) -> State:
    shapes, number = layer_shapes("model.1", (width, inputs, 7, 7), norm, "model.2", width), 4
    for wide in (2 * width, 4 * width):
        shapes |= layer_shapes(f"model.{number}", (wide, wide // 2, 3, 3), norm, f"model.{number + 1}", wide)
        number += 3
    for block in range(number, number + blocks):
        for layer in (1, 6 if dropout else 5):
            shapes |= layer_shapes(f"model.{block}.conv_block.{layer}", (4 * width, 4 * width, 3, 3), norm,
                                   f"model.{block}.conv_block.{layer + 1}", 4 * width)
    number += blocks
    for narrow in (2 * width, width):
        shapes |= layer_shapes(f"model.{number}", (2 * narrow, narrow, 3, 3), norm, f"model.{number + 1}", narrow)
        number += 3
    last = f"model.{number + 1}"
    return filled(shapes | {f"{last}.weight": (outputs, width, 7, 7), f"{last}.bias": (outputs,)})


def resnet(state: State, x: Tensor, norm: str) -> Tensor:
    def block(number: int, x: Tensor) -> Tensor:
        name = f"model.{number}.conv_block"
        second = 6 if state.get(f"{name}.6.weight", torch.empty(())).dim() == 4 else 5
        y = F.relu(normed(state, f"{name}.2", convolved(state, f"{name}.1", reflected(x, 1)), norm))
        return x + normed(state, f"{name}.{second + 1}", convolved(state, f"{name}.{second}", reflected(y, 1)), norm)

    x, number = F.relu(normed(state, "model.2", convolved(state, "model.1", reflected(x, 3)), norm)), 4
    for _ in range(2):
        x = convolved(state, f"model.{number}", x, stride=2, padding=1)
        x, number = F.relu(normed(state, f"model.{number + 1}", x, norm)), number + 3
    while f"model.{number}.conv_block.1.weight" in state:
        x, number = block(number, x), number + 1
    for _ in range(2):
        x = F.conv_transpose2d(x, state[f"model.{number}.weight"], state.get(f"model.{number}.bias"), 2, 1, 1)
        x, number = F.relu(normed(state, f"model.{number + 1}", x, norm)), number + 3
    return torch.tanh(convolved(state, f"model.{number + 1}", reflected(x, 3)))


def unet_state(norm: str, levels: int, inputs: int = 3, outputs: int = 3, width: int = 2) -> State:
    widths = [width * min(2**level, 8) for level in range(levels)]
    shapes: Shapes = {"model.model.0.weight": (width, inputs, 4, 4),
                      "model.model.3.weight": (2 * width, outputs, 4, 4), "model.model.3.bias": (outputs,)}
    if "instance" in norm:
        shapes["model.model.0.bias"] = (width,)
    prefix = "model.model.1"
    for outer, inner in pairwise(widths[:-1]):
        shapes |= layer_shapes(f"{prefix}.model.1", (inner, outer, 4, 4), norm, f"{prefix}.model.2", inner)
        shapes |= layer_shapes(f"{prefix}.model.5", (2 * inner, outer, 4, 4), norm, f"{prefix}.model.6", outer)
        prefix += ".model.3"
    outer, inner = widths[-2:]
    shapes |= layer_shapes(f"{prefix}.model.1", (inner, outer, 4, 4), "none" if norm == "batch" else norm, "-", inner)
    shapes |= layer_shapes(f"{prefix}.model.3", (inner, outer, 4, 4), norm, f"{prefix}.model.4", outer)
    return filled({name: shape for name, shape in shapes.items() if not name.startswith("-")})


def unet(state: State, x: Tensor, norm: str) -> Tensor:
    def inside(prefix: str, x: Tensor) -> Tensor:
        """The block below a skip; LeakyReLU works in place, so that the skip carries its output too."""
        x = F.leaky_relu(x, 0.2)
        y = convolved(state, f"{prefix}.model.1", x, stride=2, padding=1)
        innermost = f"{prefix}.model.5.weight" not in state
        if not innermost:
            y = inside(f"{prefix}.model.3", normed(state, f"{prefix}.model.2", y, norm))
        up = 3 if innermost else 5
        y = F.conv_transpose2d(F.relu(y), state[f"{prefix}.model.{up}.weight"], state.get(f"{prefix}.model.{up}.bias"),
                               2, 1)
        return torch.cat([x, normed(state, f"{prefix}.model.{up + 1}", y, norm)], 1)

    x = inside("model.model.1", convolved(state, "model.model.0", x, stride=2, padding=1))
    return torch.tanh(F.conv_transpose2d(F.relu(x), state["model.model.3.weight"], state["model.model.3.bias"], 2, 1))


def patches_state(norm: str, layers: int, width: int = 4) -> State:
    widths = [width * min(2**layer, 8) for layer in range(layers + 1)]
    shapes: Shapes = {"model.0.weight": (width, 6, 4, 4), "model.0.bias": (width,)}
    for layer, (before, wide) in enumerate(pairwise(widths)):
        shapes |= layer_shapes(f"model.{3 * layer + 2}", (wide, before, 4, 4), norm, f"model.{3 * layer + 3}", wide)
    last = f"model.{3 * layers + 2}"
    return filled(shapes | {f"{last}.weight": (1, widths[-1], 4, 4), f"{last}.bias": (1,)})


def patches(state: State, x: Tensor, norm: str) -> Tensor:
    last = max(int(name.split(".")[1]) for name in state)
    x = F.leaky_relu(convolved(state, "model.0", x, stride=2, padding=1), 0.2)
    for number in range(2, last, 3):
        x = convolved(state, f"model.{number}", x, stride=2 if number < last - 3 else 1, padding=1)
        x = F.leaky_relu(normed(state, f"model.{number + 1}", x, norm), 0.2)
    return convolved(state, f"model.{last}", x, padding=1)


def pixels_state(norm: str, width: int = 4) -> State:
    shapes: Shapes = {"net.0.weight": (width, 6, 1, 1), "net.0.bias": (width,), "net.5.weight": (1, 2 * width, 1, 1)}
    shapes |= layer_shapes("net.2", (2 * width, width, 1, 1), norm, "net.3", 2 * width)
    return filled(shapes | ({"net.5.bias": (1,)} if "instance" in norm else {}))


def pixels(state: State, x: Tensor, norm: str) -> Tensor:
    x = convolved(state, "net.2", F.leaky_relu(convolved(state, "net.0", x), 0.2))
    return convolved(state, "net.5", F.leaky_relu(normed(state, "net.3", x, norm), 0.2))


# --- ESRGAN and Real-ESRGAN -------------------------------------------------------------------------------------------


def rrdb_state(unshuffle: int = 1, blocks: int = 2, width: int = 4, growth: int = 3, enlargements: int = 2) -> State:
    """By BasicSR's names."""
    shapes: Shapes = {}

    def add(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs, 3, 3), f"{name}.bias": (outputs,)})

    add("conv_first", 3 * unshuffle**2, width)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for conv in range(5):
                add(f"body.{block}.rdb{dense}.conv{conv + 1}", width + conv * growth, growth if conv < 4 else width)
    for name in ("conv_body", *(f"conv_up{number + 1}" for number in range(enlargements)), "conv_hr"):
        add(name, width, width)
    add("conv_last", width, 3)
    return filled(shapes)


def rrdb(state: State, x: Tensor) -> Tensor:
    """Pixels in [0, 1]."""
    unshuffle = int((state["conv_first.weight"].shape[1] / 3) ** 0.5)

    def dense(name: str, x: Tensor) -> Tensor:
        seen = [x]
        for conv in (1, 2, 3, 4):
            seen.append(F.leaky_relu(convolved(state, f"{name}.conv{conv}", torch.cat(seen, 1), padding=1), 0.2))
        return 0.2 * convolved(state, f"{name}.conv5", torch.cat(seen, 1), padding=1) + x

    n, c, height, width = x.shape
    x = x.view(n, c, height // unshuffle, unshuffle, width // unshuffle, unshuffle).permute(0, 1, 3, 5, 2, 4)
    x = first = convolved(state, "conv_first", x.flatten(1, 3), padding=1)
    block = 0
    while f"body.{block}.rdb1.conv1.weight" in state:
        y = x
        for number in (1, 2, 3):
            y = dense(f"body.{block}.rdb{number}", y)
        x, block = 0.2 * y + x, block + 1
    x, number = first + convolved(state, "conv_body", x, padding=1), 1
    while f"conv_up{number}.weight" in state:
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x, number = F.leaky_relu(convolved(state, f"conv_up{number}", x, padding=1), 0.2), number + 1
    return convolved(state, "conv_last", F.leaky_relu(convolved(state, "conv_hr", x, padding=1), 0.2), padding=1)


def with_esrgan_names(state: State) -> State:
    names = (("conv_body", "trunk_conv"), ("body.", "RRDB_trunk."), (".rdb", ".RDB"), ("conv_up", "upconv"),
             ("conv_hr", "HRconv"))
    return _renamed(state, names)


def with_old_names(state: State) -> State:
    """As in ESRGAN's first version: the layers' numbers."""
    ups = sum(name.startswith("conv_up") and name.endswith("weight") for name in state)
    blocks = len({name.split(".")[1] for name in state if name.startswith("body")})
    names = [("conv_first.", "model.0."), ("conv_body.", f"model.1.sub.{blocks}."),
             *((f"conv_up{number + 1}.", f"model.{3 * number + 3}.") for number in range(ups)),
             ("conv_hr.", f"model.{3 * ups + 2}."), ("conv_last.", f"model.{3 * ups + 4}.")]
    dense = [(f".conv{number}.", f".conv{number}.0.") for number in range(1, 6)]
    return _renamed(state, [*names, ("body.", "model.1.sub."), (".rdb", ".RDB"), *dense])


def _renamed(state: State, names: object) -> State:
    renamed = {}
    for name, value in state.items():
        for old, new in names:
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def srvgg_state(scale: int, layers: int, width: int = 4) -> State:
    shapes: Shapes = {}
    for number, (before, wide) in enumerate(zip((3, *[width] * (layers + 1)), (*[width] * (layers + 1), 3 * scale**2))):
        shapes |= {f"body.{2 * number}.weight": (wide, before, 3, 3), f"body.{2 * number}.bias": (wide,)}
        shapes |= {f"body.{2 * number + 1}.weight": (wide,)} if number <= layers else {}
    return filled(shapes)


def srvgg(state: State, x: Tensor) -> Tensor:
    """Pixels in [0, 1]."""
    last = max(int(name.split(".")[1]) for name in state)
    y = x
    for number in range(0, last, 2):
        y = F.prelu(convolved(state, f"body.{number}", y, padding=1), state[f"body.{number + 1}.weight"])
    y = convolved(state, f"body.{last}", y, padding=1)
    scale = int((y.shape[1] / x.shape[1]) ** 0.5)
    return F.pixel_shuffle(y, scale) + x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


# --- layers -----------------------------------------------------------------------------------------------------------


def convolved(state: State, name: str, x: Tensor, **geometry: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **geometry)


def reflected(x: Tensor, size: int) -> Tensor:
    return F.pad(x, (size,) * 4, mode="reflect")


def normed(state: State, name: str, x: Tensor, norm: str) -> Tensor:
    if norm == "none":
        return x
    if "instance" in norm:
        return F.instance_norm(x)
    gain, bias, mean, var = (state[f"{name}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var"))
    return F.batch_norm(x, mean, var, gain, bias) if norm == "batch" else F.instance_norm(x, weight=gain, bias=bias)
