"""Public reference implementations' weights in our networks.

Each function takes a state dict of plain tensors and returns our module in eval mode, whose outputs are those of the
reference. Shapes tell the architecture; what they do not tell is a keyword. Nothing is drawn, and nothing is shared
with the state dict. Meta tensors give a model on the meta device.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from scalegan.interop_stylegan2 import stylegan2_discriminator, stylegan2_generator
from scalegan.models import biggan, dcgan, r3gan

__all__ = ["biggan_discriminator", "biggan_generator", "dcgan_discriminator", "dcgan_generator",
           "r3gan_discriminator", "r3gan_generator", "stylegan2_discriminator", "stylegan2_generator"]

State = Mapping[str, Tensor]


class _Reference:
    """A state dict that is read by name, and notices what nobody asked for."""

    def __init__(self, state: State, what: str, wrappers: Iterable[str] = ("module.",), ignored: str = "$^") -> None:
        self.what, self.tensors = what, dict(state)
        for name, value in self.tensors.items():
            if not isinstance(value, Tensor):
                raise ValueError(f"{what}: {name!r} is a {type(value).__name__}, not a tensor; "
                                 "give the network's own state dict")
        for wrapper in wrappers:
            if self.tensors and all(name.startswith(wrapper) for name in self.tensors):
                self.tensors = {name.removeprefix(wrapper): value for name, value in self.tensors.items()}
        self.left = {name for name in self.tensors if not re.search(ignored, name)}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, *names: str) -> Tensor:
        """The first of these that is there."""
        for name in names:
            if name in self.tensors:
                self.left.discard(name)
                return self.tensors[name]
        raise ValueError(f"this is not a state dict of {self.what}: {names[0]!r} is missing")

    def shape(self, name: str, axes: int) -> torch.Size:
        if name not in self.tensors:
            raise ValueError(f"this is not a state dict of {self.what}: {name!r} is missing")
        shape = self.tensors[name].shape
        if len(shape) != axes:
            raise ValueError(f"{self.what}: {name!r} should have {axes} axes, but its shape is {list(shape)}")
        return shape

    def indices(self, pattern: str) -> list[int]:
        """The numbers that stand for the group in names of this pattern, in order."""
        found = {int(match[1]) for name in self.tensors if (match := re.fullmatch(pattern, name))}
        return sorted(found)

    def count(self, pattern: str) -> int:
        """How many there are of something that is numbered from 0."""
        found = self.indices(pattern)
        if not found or found != list(range(len(found))):
            first = pattern.replace(r"(\d+)", "0").replace("\\", "")
            raise ValueError(f"this is not a state dict of {self.what}: {first!r} or a successor is missing")
        return len(found)

    def fill(self, build: Callable[[], nn.Module], tensor_for: Callable[[str], Tensor]) -> nn.Module:
        """The model with, for each name of its state dict, the reference's tensor; in eval mode."""
        with torch.device("meta"):              # no weights are drawn, and every buffer comes from the reference
            model = build()
        values = {}
        for name, own in model.state_dict().items():
            value = tensor_for(name)
            if value.shape != own.shape:
                raise ValueError(f"{self.what}: the tensor for {name} should be {list(own.shape)}, "
                                 f"but is {list(value.shape)}")
            wide = torch.promote_types(value.dtype, torch.float32)
            values[name] = value.detach().to(wide, copy=True).contiguous()
        if self.left:
            raise ValueError(f"{self.what}: {min(self.left)!r} has no place in our network "
                             f"({len(self.left)} such tensors)")
        model.load_state_dict(values, assign=True)
        return model.eval()


def _renamed(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """Our name in the reference's words: every rule in turn, a pattern and its replacement."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


# --- DCGAN -------------------------------------------------------------------------------------------------------

def dcgan_generator(state_dict: State) -> dcgan.Generator:
    """From the `Generator` of pytorch/examples/dcgan, or one with another number of such layers."""
    reference = _Reference(_by_number(state_dict), "pytorch/examples' DCGAN generator",
                           ignored="num_batches_tracked$")
    kernels = [name for name, value in reference.tensors.items() if value.dim() == 4]
    if len(kernels) < 3:
        raise ValueError(f"this is not a state dict of {reference.what}: it has {len(kernels)} convolutions")
    width, channels = reference.shape(kernels[-1], 4)[:2]
    return _in_order(reference, lambda: dcgan.Generator(
        resolution=4 << (len(kernels) - 1), channels=channels, width=width,
        latent_dim=reference.shape(kernels[0], 4)[0]))


def dcgan_discriminator(state_dict: State) -> dcgan.Discriminator:
    """From the `Discriminator` of pytorch/examples/dcgan; ours gives the logit, which theirs puts through a sigmoid."""
    reference = _Reference(_by_number(state_dict), "pytorch/examples' DCGAN discriminator",
                           ignored="num_batches_tracked$")
    kernels = [name for name, value in reference.tensors.items() if value.dim() == 4]
    if len(kernels) < 3:
        raise ValueError(f"this is not a state dict of {reference.what}: it has {len(kernels)} convolutions")
    width, channels = reference.shape(kernels[0], 4)[:2]
    return _in_order(reference, lambda: dcgan.Discriminator(
        resolution=4 << (len(kernels) - 1), channels=channels, width=width))


def _by_number(state: State) -> State:
    """The state in the order of its layers' numbers, where all have one: a safetensors file keeps no order."""
    found = {name: re.fullmatch(r".*?(\d+)\.(\w+)", name) for name in state}
    if not all(found.values()):
        return state
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    rank = {name: (int(match[1]), leaves.index(match[2]) if match[2] in leaves else len(leaves))
            for name, match in found.items()}
    return {name: state[name] for name in sorted(state, key=rank.__getitem__)}


def _in_order(reference: _Reference, build: Callable[[], nn.Module]) -> nn.Module:
    """Both networks hold the same tensors in the same order, whatever their names."""
    theirs = iter([name for name in reference.tensors if name in reference.left])

    def following(name: str) -> Tensor:
        other = next(theirs, None)
        if other is None or other.rpartition(".")[2] != name.rpartition(".")[2]:
            raise ValueError(f"this is not a state dict of {reference.what}: the tensor for {name} is missing")
        return reference.take(other)

    return reference.fill(build, following)


# --- BigGAN ------------------------------------------------------------------------------------------------------

_BIGGAN_NAMES = (
    (r"\.normed\.weight$", ".weight"),
    (r"\.normed\.u$", ".u0"),
    (r"^attention\.(\d+)\.", r"blocks.\1.1."),
    (r"^blocks\.(\d+)\.(?=conv|norm|shortcut)", r"blocks.\1.0."),
    (r"\.norm([12])\.", r".bn\1."),
    (r"\.norm\.running_", ".running_"),
    (r"\.shortcut\.", ".conv_sc."),
    (r"^norm\.weight$", "output_layer.0.gain"),
    (r"^norm\.", "output_layer.0."),
    (r"^to_rgb\.", "output_layer.2."),
    (r"^embedding\.", "embed."),
)
# Spectral values and further singular vectors do not enter the outputs.
_BIGGAN_IGNORED = r"\.(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$"


def biggan_generator(state_dict: State, *, bn_eps: float = 1e-5, sn_eps: float = 1e-6) -> biggan.Generator:
    """From the `Generator` of ajbrock/BigGAN-PyTorch (BigGAN.py).

    bn_eps is `BN_eps` (1e-5; 1e-4 in the weights converted from TF-Hub), sn_eps is `SN_eps`. Standing statistics are
    taken where they were accumulated. Synchronised BatchNorm computes, in eval mode, what it does in training.
    """
    reference = _Reference(state_dict, "ajbrock/BigGAN-PyTorch's Generator", ignored=_BIGGAN_IGNORED)
    blocks = reference.count(r"blocks\.(\d+)\.0\.conv1\.weight")
    resolution = _by_blocks(reference, biggan.G_CHANNELS, blocks + 1)
    attention = [8 << i for i in reference.indices(r"blocks\.(\d+)\.1\.theta\.weight")]
    last = reference.shape(f"blocks.{blocks - 1}.0.conv2.weight", 4)[0]
    first_dim = reference.shape("linear.weight", 2)[1]
    shared = "shared.weight" in reference
    if shared:
        num_classes, shared_dim = reference.shape("shared.weight", 2)
        hierarchical = reference.shape("blocks.0.0.bn1.gain.weight", 2)[1] > shared_dim
    else:
        num_classes, shared_dim, hierarchical = reference.shape("blocks.0.0.bn1.gain.weight", 2)[0], 0, False

    def build() -> biggan.Generator:
        return biggan.Generator(
            resolution, num_classes=num_classes, width=max(last // biggan.G_CHANNELS[resolution][-1], 1),
            latent_dim=first_dim * (blocks + 1 if hierarchical else 1), shared_dim=shared_dim,
            hierarchical=hierarchical, attention=attention, spectral="linear.u0" in reference, bn_eps=bn_eps,
            sn_eps=sn_eps, channels=reference.shape("output_layer.2.weight", 4)[0])

    return reference.fill(build, lambda name: _biggan_tensor(reference, name))


def biggan_discriminator(state_dict: State, *, sn_eps: float = 1e-6) -> biggan.Discriminator:
    """From the `Discriminator` of ajbrock/BigGAN-PyTorch (BigGAN.py); sn_eps is `SN_eps`."""
    reference = _Reference(state_dict, "ajbrock/BigGAN-PyTorch's Discriminator", ignored=_BIGGAN_IGNORED)
    blocks = reference.count(r"blocks\.(\d+)\.0\.conv1\.weight")
    resolution = _by_blocks(reference, biggan.D_CHANNELS, blocks)
    names = biggan.D_RESOLUTIONS[resolution]
    attention = [names[i] for i in reference.indices(r"blocks\.(\d+)\.1\.theta\.weight") if i < blocks]
    hidden, channels = reference.shape("blocks.0.0.conv1.weight", 4)[:2]
    first = reference.shape("blocks.0.0.conv2.weight", 4)[0]

    def build() -> biggan.Discriminator:
        return biggan.Discriminator(
            resolution, num_classes=reference.shape("embed.weight", 2)[0], attention=attention, channels=channels,
            width=max(first // biggan.D_CHANNELS[resolution][0], 1), wide_blocks=hidden == first, sn_eps=sn_eps)

    return reference.fill(build, lambda name: _biggan_tensor(reference, name))


def _by_blocks(reference: _Reference, tables: Mapping[int, tuple[int, ...]], length: int) -> int:
    for resolution, table in tables.items():
        if len(table) == length:
            return resolution
    raise ValueError(f"{reference.what} has no resolution with as many blocks as this state dict")


def _biggan_tensor(reference: _Reference, name: str) -> Tensor:
    other = _renamed(name, _BIGGAN_NAMES)
    owner, _, leaf = other.rpartition(".")
    if leaf == "u0":
        return reference.take(other).flatten()
    if not leaf.startswith("running_"):
        return reference.take(other)
    stored = leaf.replace("running", "stored")              # by its own norm, or by torch's synchronised one
    value = reference.take(f"{owner}.{stored}", f"{owner}.bn.{stored}", f"{owner}.bn.{leaf}")
    # Standing statistics are kept as sums over this many forwards.
    sums = reference.tensors.get(f"{owner}.bn.accumulation_counter")
    return value if sums is None or sums.is_meta or sums == 0 else value / sums


# --- R3GAN -------------------------------------------------------------------------------------------------------

_R3GAN_NAMES = (
    (r"\.expand\.weight$", ".LinearLayer1.Layer.weight"),
    (r"\.mix\.weight$", ".LinearLayer2.Layer.weight"),
    (r"\.contract\.weight$", ".LinearLayer3.Layer.weight"),
    (r"\.expand\.bias$", ".NonLinearity1.Bias"),
    (r"\.mix\.bias$", ".NonLinearity2.Bias"),
    (r"^to_rgb\.", "AggregationLayer.Layer."),
    (r"^from_rgb\.", "ExtractionLayer.Layer."),
)


def r3gan_generator(state_dict: State) -> r3gan.Generator:
    """From the `Generator` of brownvc/R3GAN (R3GAN/Networks.py), alone or wrapped by training/networks.py."""
    reference = _r3gan_reference(state_dict, "brownvc/R3GAN's Generator")
    stages = reference.count(r"MainLayers\.(\d+)\.Layers\.1\.LinearLayer1\.Layer\.weight")
    shapes = [_r3gan_stage(reference, i, 1) for i in range(stages)]
    inputs = reference.shape("MainLayers.0.Layers.0.LinearLayer.weight", 2)[1]
    num_classes, embedding_dim = 0, 0
    if "EmbeddingLayer.weight" in reference:
        embedding_dim, num_classes = reference.shape("EmbeddingLayer.weight", 2)
    rules = (*_R3GAN_NAMES,
             (r"^linear$", "MainLayers.0.Layers.0.LinearLayer.weight"),
             (r"^basis$", "MainLayers.0.Layers.0.Basis"),
             (r"^transitions\.(\d+)\.", r"MainLayers.\1.Layers.0.LinearLayer.Layer."))

    def tensor_for(name: str) -> Tensor:
        if name == "embedding":
            return reference.take("EmbeddingLayer.weight").T
        name = re.sub(r"^stages\.(\d+)\.(\d+)", lambda m: f"MainLayers.{m[1]}.Layers.{int(m[2]) + 1}", name)
        return reference.take(_renamed(name, rules))

    return reference.fill(lambda: r3gan.Generator(
        latent_dim=inputs - embedding_dim, num_classes=num_classes, embedding_dim=embedding_dim,
        channels=reference.shape("AggregationLayer.Layer.weight", 4)[0], **_r3gan_layout(shapes)), tensor_for)


def r3gan_discriminator(state_dict: State) -> r3gan.Discriminator:
    """From the `Discriminator` of brownvc/R3GAN (R3GAN/Networks.py), alone or wrapped by training/networks.py."""
    reference = _r3gan_reference(state_dict, "brownvc/R3GAN's Discriminator")
    stages = reference.count(r"MainLayers\.(\d+)\.Layers\.0\.LinearLayer1\.Layer\.weight")
    shapes = [_r3gan_stage(reference, i, 0) for i in range(stages)]
    ends = [f"MainLayers.{i}.Layers.{shape['blocks']}" for i, shape in enumerate(shapes)]
    num_classes, embedding_dim = 0, None
    if "EmbeddingLayer.weight" in reference:
        embedding_dim, num_classes = reference.shape("EmbeddingLayer.weight", 2)
    rules = (*_R3GAN_NAMES, (r"^stages\.(\d+)\.(\d+)", r"MainLayers.\1.Layers.\2"))

    def tensor_for(name: str) -> Tensor:
        if name == "embedding":
            return reference.take("EmbeddingLayer.weight").T
        if name == "linear":
            return reference.take(f"{ends[-1]}.LinearLayer.weight")
        if name == "basis":
            return reference.take(f"{ends[-1]}.Basis.weight").flatten(0, 1)
        name = re.sub(r"^transitions\.(\d+)", lambda m: f"{ends[int(m[1])]}.LinearLayer.Layer", name)
        return reference.take(_renamed(name, rules))

    return reference.fill(lambda: r3gan.Discriminator(
        num_classes=num_classes, embedding_dim=embedding_dim,
        channels=reference.shape("ExtractionLayer.Layer.weight", 4)[1], **_r3gan_layout(shapes[::-1])), tensor_for)


def _r3gan_reference(state_dict: State, what: str) -> _Reference:
    reference = _Reference(state_dict, what, wrappers=("module.", "Model."), ignored=r"\.Resampler\.Kernel$")
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float32, device="cpu") / 8
    for name, value in reference.tensors.items():
        if name.endswith(".Resampler.Kernel") and not value.is_meta:
            value = value.detach().cpu().float()
            if value.shape != (4, 4) or not torch.allclose(value, torch.outer(taps, taps)):
                raise ValueError(f"{what}: {name!r} is another resampling filter than [1, 2, 1]")
    return reference


def _r3gan_stage(reference: _Reference, stage: int, first: int) -> dict[str, int]:
    """Shape of a stage, whose residual blocks start at index `first`."""
    prefix = f"MainLayers.{stage}.Layers"
    blocks = reference.indices(rf"{re.escape(prefix)}\.(\d+)\.LinearLayer1\.Layer\.weight")
    inner, channels = reference.shape(f"{prefix}.{first}.LinearLayer1.Layer.weight", 4)[:2]
    _, per_group, kernel, _ = reference.shape(f"{prefix}.{first}.LinearLayer2.Layer.weight", 4)
    return dict(blocks=len(blocks), width=channels, cardinality=inner // max(per_group, 1),
                expansion=inner // max(channels, 1), kernel=kernel)


def _r3gan_layout(stages: list[dict[str, int]]) -> dict[str, object]:
    """Arguments of our networks for these stages, from 4 px up."""
    return dict(resolution=4 << (len(stages) - 1), widths=[s["width"] for s in stages],
                cardinalities=[s["cardinality"] for s in stages], blocks=[s["blocks"] for s in stages],
                expansion=stages[0]["expansion"], kernel=stages[0]["kernel"])
