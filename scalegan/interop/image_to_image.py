"""ResNet, U-Net and PatchGAN from the weights of junyanz/pytorch-CycleGAN-and-pix2pix, which CUT shares.

Channels, widths, depths, dropout and the kind of norm follow from the tensors. Statistics that old versions stored for
instance norm are left out: the published code used those of each image, as we do.
"""

import re

from torch import Tensor

from scalegan.interop.reference import Reference, State, renamed, unwrapped
from scalegan.models import patch, resnet_i2i, unet

_REPOSITORY = "junyanz/pytorch-CycleGAN-and-pix2pix"
_UNUSED = r"num_batches_tracked$"
_RESNET = ((r"^layers\.", "model."), (r"\.layers\.", ".conv_block."))
_DROPOUT = 0.5


def resnet_i2i_generator(state_dict: State, *, image_statistics: bool = False) -> resnet_i2i.Generator:
    """From `ResnetGenerator`, with any number of blocks.

    Args:
        image_statistics: for networks with BatchNorm: normalise by each image's own statistics, as the repository's
            test.py does without --eval, instead of the running ones.
    """
    reference = Reference(_plain(state_dict, image_statistics), f"{_REPOSITORY}'s ResNet", ignored=_UNUSED)
    blocks = [number - 10 for number in reference.indices(r"model\.(\d+)\.conv_block\..*")]
    if blocks != list(range(len(blocks))):
        raise ValueError(f"this is not a state dict of {reference.what}: its blocks should be numbered from 10 on, but "
                         f"are {', '.join(str(number + 10) for number in blocks)}")
    width, inputs = reference.shape("model.1.weight", 4)[:2]
    outputs = reference.shape(f"model.{len(blocks) + 17}.weight", 4)[0]
    # With dropout, the padding before a block's second convolution has its number.
    dropout = 0.0 if "model.10.conv_block.5.weight" in reference else _DROPOUT
    norm = _norm(reference, "model.1", "model.2", image_statistics)

    def build() -> resnet_i2i.Generator:
        return resnet_i2i.Generator(inputs, outputs, len(blocks), width, norm, dropout=dropout)

    return reference.fill(build, lambda name: _tensor(reference, renamed(name, _RESNET)))


def unet_generator(state_dict: State, *, image_statistics: bool = False) -> unet.Generator:
    """From `UnetGenerator`, with any number of levels; see `resnet_i2i_generator`.

    Dropout has no tensors and is off outside training; the published code leaves it on unless it gets --eval.
    """
    reference = Reference(_plain(state_dict, image_statistics), f"{_REPOSITORY}'s U-Net", ignored=_UNUSED)
    width, inputs = reference.shape("model.model.0.weight", 4)[:2]
    outputs = reference.shape("model.model.3.weight", 4)[1]
    deeper = [name.count(".3.") for name in reference.tensors
              if re.fullmatch(r"model\.model\.1\.model\.(3\.model\.)*1\.weight", name)]
    levels = max(deeper, default=0) + 2
    norm = _norm(reference, "model.model.1.model.1", "model.model.1.model.2", image_statistics)

    def theirs(name: str) -> str:
        part, *position, leaf = name.split(".")
        if part == "last":
            return f"model.model.3.{leaf}"
        number, layer = (int(digits) for digits in position)
        level = number if part == "down" else levels - 1 - number
        if level == 0:
            return f"model.model.0.{leaf}"
        # Going up, the layers come after those going down and, but for the innermost level, what lies between them.
        offset = 0 if part == "down" else 2 if level == levels - 1 else 4
        return f"model.model.1.model.{'3.model.' * (level - 1)}{layer + offset}.{leaf}"

    return reference.fill(lambda: unet.Generator(inputs, outputs, levels, width, norm),
                          lambda name: _tensor(reference, theirs(name)))


def patch_discriminator(state_dict: State, *, image_statistics: bool = False) -> patch.Discriminator:
    """From `NLayerDiscriminator` with any number of layers, or `PixelDiscriminator`; see `resnet_i2i_generator`.

    Ours returns a list with the logits of one scale.
    """
    state = _plain(state_dict, image_statistics)
    pixel = "net.0.weight" in state
    reference = Reference(state, f"{_REPOSITORY}'s {'PixelGAN' if pixel else 'PatchGAN'}", ignored=_UNUSED)
    trunk = "net" if pixel else "model"
    width, inputs = reference.shape(f"{trunk}.0.weight", 4)[:2]
    convolutions = [number for number in reference.indices(rf"{trunk}\.(\d+)\.weight")
                    if reference.tensors[f"{trunk}.{number}.weight"].dim() == 4]
    norm = _norm(reference, f"{trunk}.2", f"{trunk}.3", image_statistics)

    def theirs(name: str) -> str:
        stage = re.fullmatch(r"scales\.0\.stages\.(\d+)\.(\d+)\.(\w+)", name)
        if not stage:
            return f"{trunk}.{convolutions[-1]}.{name.rpartition('.')[2]}"
        number, layer = int(stage[1]), int(stage[2])
        return f"{trunk}.{3 * number - 1 + layer if number else 0}.{stage[3]}"

    def build() -> patch.Discriminator:
        return patch.Discriminator(inputs, layers=0 if pixel else len(convolutions) - 2, width=width, norm=norm)

    return reference.fill(build, lambda name: _tensor(reference, theirs(name)))


def _plain(state: State, image_statistics: bool) -> State:
    """The state without statistics that are not used, such as those of instance norm, which have no gain beside them.
    """
    state = unwrapped(state)
    if any(name.endswith(".filt") for name in state):
        raise ValueError("the network has antialiasing filters, as CUT's have by default; only networks trained with "
                         "--no_antialias --no_antialias_up can be converted")
    return {name: value for name, value in state.items()
            if not re.search(r"\.running_(mean|var)$", name)
            or (f"{name.rpartition('.')[0]}.weight" in state and not image_statistics)}


def _norm(reference: Reference, convolution: str, norm: str, image_statistics: bool) -> str:
    """The kind of norm that follows a convolution: BatchNorm alone has tensors, and convolutions before instance norm
    alone have a bias."""
    biased, gained = f"{convolution}.bias" in reference, f"{norm}.weight" in reference
    if biased and gained:
        raise ValueError(f"{reference.what}: {convolution} has a bias and {norm} a gain, but in the repository "
                         "BatchNorm comes without the bias, and instance norm without the gain")
    if image_statistics and not gained:
        raise ValueError("image_statistics is about BatchNorm, which this network does not have; leave it out")
    if not gained:
        return "instance" if biased else "none"
    return "instance_affine" if image_statistics else "batch"


def _tensor(reference: Reference, name: str) -> Tensor | None:
    """A tensor by the reference's name; None for a bias that its convolutions lack where there is no norm."""
    without_bias = name.endswith(".bias") and name not in reference
    return None if without_bias and f"{name.removesuffix('.bias')}.weight" in reference else reference.take(name)
