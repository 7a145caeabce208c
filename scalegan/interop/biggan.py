"""BigGAN from the weights of ajbrock/BigGAN-PyTorch."""

from collections.abc import Mapping

from torch import Tensor

from scalegan.interop.reference import Reference, State, renamed
from scalegan.models import biggan

_NAMES = (
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
# The outputs do not depend on singular values, nor on further singular vectors.
_IGNORED = r"\.(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$"


def biggan_generator(state_dict: State, *, bn_eps: float = 1e-5, sn_eps: float = 1e-6) -> biggan.Generator:
    """From the `Generator` of ajbrock/BigGAN-PyTorch (BigGAN.py).

    bn_eps is `BN_eps` (1e-5; 1e-4 in the weights converted from TF-Hub), sn_eps is `SN_eps`. Standing statistics are
    used if they were accumulated. Synchronised BatchNorm computes, in eval mode, what it does in training.
    """
    reference = Reference(state_dict, "ajbrock/BigGAN-PyTorch's Generator", ignored=_IGNORED)
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

    return reference.fill(build, lambda name: _tensor(reference, name))


def biggan_discriminator(state_dict: State, *, sn_eps: float = 1e-6) -> biggan.Discriminator:
    """From the `Discriminator` of ajbrock/BigGAN-PyTorch (BigGAN.py); sn_eps is `SN_eps`."""
    reference = Reference(state_dict, "ajbrock/BigGAN-PyTorch's Discriminator", ignored=_IGNORED)
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

    return reference.fill(build, lambda name: _tensor(reference, name))


def _by_blocks(reference: Reference, tables: Mapping[int, tuple[int, ...]], length: int) -> int:
    for resolution, table in tables.items():
        if len(table) == length:
            return resolution
    raise ValueError(f"{reference.what} has no resolution with as many blocks as this state dict")


def _tensor(reference: Reference, name: str) -> Tensor:
    other = renamed(name, _NAMES)
    owner, _, leaf = other.rpartition(".")
    if leaf == "u0":
        return reference.take(other).flatten()
    if not leaf.startswith("running_"):
        return reference.take(other)
    stored = leaf.replace("running", "stored")              # from its own norm, or torch's synchronised one
    value = reference.take(f"{owner}.{stored}", f"{owner}.bn.{stored}", f"{owner}.bn.{leaf}")
    # Standing statistics are stored as sums over this many forward passes.
    sums = reference.tensors.get(f"{owner}.bn.accumulation_counter")
    return value if sums is None or sums.is_meta or sums == 0 else value / sums
