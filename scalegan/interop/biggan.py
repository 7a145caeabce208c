"""BigGAN and BigGAN-deep from the weights of ajbrock/BigGAN-PyTorch."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from scalegan.interop.reference import Reference, State, renamed
from scalegan.models import biggan, biggan_deep

_NAMES = (
    (r"\.normed\.weight$", ".weight"),
    (r"\.normed\.u$", ".u0"),
    (r"^attention\.(\d+)\.", r"blocks.\1.1."),
    (r"^blocks\.(\d+)\.(?=conv|norm|shortcut)", r"blocks.\1.0."),
    (r"\.norm([1-4])\.", r".bn\1."),
    (r"\.norm\.running_", ".running_"),
    (r"\.shortcut\.", ".conv_sc."),
    (r"^norm\.weight$", "output_layer.0.gain"),
    (r"^norm\.", "output_layer.0."),
    (r"^to_rgb\.", "output_layer.2."),
    (r"^embedding\.", "embed."),
    (r"^from_rgb\.", "input_conv."),
)
# The outputs do not depend on singular values, nor on further singular vectors.
_IGNORED = r"\.(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$"


def biggan_generator(state_dict: State, *, bn_eps: float = 1e-5,
                     sn_eps: float = 1e-6) -> biggan.Generator | biggan_deep.Generator:
    """From the `Generator` of ajbrock/BigGAN-PyTorch (BigGAN.py or BigGANdeep.py).

    bn_eps is `BN_eps` (1e-5; 1e-4 in the weights converted from TF-Hub), sn_eps is `SN_eps`. Standing statistics are
    used if they were accumulated. Synchronised BatchNorm computes, in eval mode, what it does in training.
    """
    reference = Reference(state_dict, "ajbrock/BigGAN-PyTorch's Generator", ignored=_IGNORED)
    build = _deep_generator if _is_deep(reference) else _generator
    return reference.fill(lambda: build(reference, bn_eps, sn_eps), lambda name: _tensor(reference, name))


def biggan_discriminator(state_dict: State, *,
                         sn_eps: float = 1e-6) -> biggan.Discriminator | biggan_deep.Discriminator:
    """From the `Discriminator` of ajbrock/BigGAN-PyTorch (BigGAN.py or BigGANdeep.py); sn_eps is `SN_eps`."""
    reference = Reference(state_dict, "ajbrock/BigGAN-PyTorch's Discriminator", ignored=_IGNORED)
    if not _is_deep(reference):
        return reference.fill(lambda: _discriminator(reference, sn_eps), lambda name: _tensor(reference, name))
    depth = reference.count(r"blocks\.0\.(\d+)\.conv4\.weight")
    # Unlike G's, its lists hold a stage each: its blocks, and then the attention.
    stages = ((r"^blocks\.(\d+)\.", lambda match: "blocks.{}.{}.".format(*divmod(int(match[1]), depth))),
              (r"^attention\.(\d+)\.", lambda match: f"blocks.{int(match[1]) // depth}.{depth}."))
    return reference.fill(lambda: _deep_discriminator(reference, depth, sn_eps),
                          lambda name: _tensor(reference, renamed(name, stages)))


def _is_deep(reference: Reference) -> bool:
    return "blocks.0.0.conv4.weight" in reference


def _generator(reference: Reference, bn_eps: float, sn_eps: float) -> biggan.Generator:
    blocks = reference.count(r"blocks\.(\d+)\.0\.conv1\.weight")
    resolution = _by_blocks(reference, biggan.G_CHANNELS, blocks + 1)
    attention = [8 << i for i in reference.indices(r"blocks\.(\d+)\.1\.theta\.weight")]
    last = reference.shape(f"blocks.{blocks - 1}.0.conv2.weight", 4)[0]
    first_dim = reference.shape("linear.weight", 2)[1]
    if "shared.weight" in reference:
        num_classes, shared_dim = reference.shape("shared.weight", 2)
        hierarchical = reference.shape("blocks.0.0.bn1.gain.weight", 2)[1] > shared_dim
    else:
        num_classes, shared_dim, hierarchical = reference.shape("blocks.0.0.bn1.gain.weight", 2)[0], 0, False
    return biggan.Generator(
        resolution, num_classes=num_classes, width=max(last // biggan.G_CHANNELS[resolution][-1], 1),
        latent_dim=first_dim * (blocks + 1 if hierarchical else 1), shared_dim=shared_dim, hierarchical=hierarchical,
        attention=attention, spectral="linear.u0" in reference, bn_eps=bn_eps, sn_eps=sn_eps,
        channels=reference.shape("output_layer.2.weight", 4)[0])


def _discriminator(reference: Reference, sn_eps: float) -> biggan.Discriminator:
    blocks = reference.count(r"blocks\.(\d+)\.0\.conv1\.weight")
    resolution = _by_blocks(reference, biggan.D_CHANNELS, blocks)
    names = biggan.D_RESOLUTIONS[resolution]
    attention = [names[i] for i in reference.indices(r"blocks\.(\d+)\.1\.theta\.weight") if i < blocks]
    hidden, channels = reference.shape("blocks.0.0.conv1.weight", 4)[:2]
    first = reference.shape("blocks.0.0.conv2.weight", 4)[0]
    return biggan.Discriminator(
        resolution, num_classes=reference.shape("embed.weight", 2)[0], attention=attention, channels=channels,
        width=max(first // biggan.D_CHANNELS[resolution][0], 1), wide_blocks=hidden == first, sn_eps=sn_eps)


def _deep_generator(reference: Reference, bn_eps: float, sn_eps: float) -> biggan_deep.Generator:
    tables = {side: biggan_deep.G_CHANNELS[side][:-1] for side in biggan_deep.PRESETS}
    resolution, depth, width = _by_channels(reference, tables, "conv1", 1)
    num_classes, shared_dim = reference.shape("shared.weight", 2)
    attention = [8 << i // depth for i in reference.indices(r"blocks\.(\d+)\.1\.theta\.weight")]
    return biggan_deep.Generator(
        resolution, num_classes=num_classes, width=width, depth=depth, shared_dim=shared_dim, attention=attention,
        latent_dim=max(reference.shape("linear.weight", 2)[1] - shared_dim, 1), spectral="linear.u0" in reference,
        bn_eps=bn_eps, sn_eps=sn_eps, channels=reference.shape("output_layer.2.weight", 4)[0])


def _deep_discriminator(reference: Reference, depth: int, sn_eps: float) -> biggan_deep.Discriminator:
    tables = {side: table[1:] for side, table in biggan_deep.D_CHANNELS.items()}
    resolution, _, width = _by_channels(reference, tables, "conv4", 0)
    names = biggan_deep.D_RESOLUTIONS[resolution]
    attention = [names[i] for i in reference.indices(rf"blocks\.(\d+)\.{depth}\.theta\.weight")]
    return biggan_deep.Discriminator(
        resolution, num_classes=reference.shape("embed.weight", 2)[0], width=width, depth=depth, attention=attention,
        channels=reference.shape("input_conv.weight", 4)[1], sn_eps=sn_eps)


def _by_channels(reference: Reference, tables: Mapping[int, Sequence[int]], convolution: str,
                 axis: int) -> tuple[int, int, int]:
    """Resolution, lists of blocks per stage, and width, by the channels of the lists' first blocks.

    Args:
        tables: channels of the stages by resolution, in multiples of the width.
        convolution, axis: of the block, where its weight has that many channels.
    """
    lists = reference.count(rf"blocks\.(\d+)\.0\.{convolution}\.weight")
    found = [reference.shape(f"blocks.{i}.0.{convolution}.weight", 4)[axis] for i in range(lists)]
    for resolution, table in tables.items():
        depth, width = lists // len(table), found[0] // table[0]
        if found == [multiple * width for multiple in table for _ in range(depth)]:
            return resolution, depth, width
    raise ValueError(f"{reference.what} has no resolution at which blocks of BigGAN-deep have "
                     f"{', '.join(map(str, found))} channels")


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
