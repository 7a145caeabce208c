"""StarGAN from the weights of yunjey/stargan.

Widths, depths, labels and the resolution follow from the tensors. The running statistics that instance norm stored are
left out: the published code samples in training mode, with those of each image.
"""

from scalegan.interop.reference import Reference, State
from scalegan.models import stargan

_REPOSITORY = "yunjey/stargan"
_UNUSED = r"running_(mean|var)$|num_batches_tracked$"
PUBLISHED = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")     # of its CelebA networks, in their order
_HEADS = {"source": "conv1", "labels": "conv2"}


def stargan_generator(state_dict: State) -> stargan.Generator:
    """From `Generator`, with any number of labels and blocks, such as 200000-G.ckpt."""
    reference = Reference(state_dict, f"{_REPOSITORY}'s generator", ignored=_UNUSED)
    blocks = len(reference.indices(r"main\.(\d+)\.main\.0\.weight"))
    width, planes = reference.shape("main.0.weight", 4)[:2]
    channels = reference.shape(f"main.{blocks + 15}.weight", 4)[0]
    return reference.fill(lambda: stargan.Generator(channels, planes - channels, width, blocks),
                          lambda name: reference.take(name.replace("layers.", "main.")))


def stargan_discriminator(state_dict: State) -> stargan.Discriminator:
    """From `Discriminator`, with any number of labels and layers, such as 200000-D.ckpt."""
    reference = Reference(state_dict, f"{_REPOSITORY}'s discriminator", ignored=_UNUSED)
    layers = len(reference.indices(r"main\.(\d+)\.weight"))
    width, channels = reference.shape("main.0.weight", 4)[:2]
    labels, _, side, _ = reference.shape("conv2.weight", 4)

    def theirs(name: str) -> str:
        part, _, leaf = name.partition(".")
        return f"{_HEADS.get(part, 'main')}.{leaf}"

    return reference.fill(lambda: stargan.Discriminator(side << layers, channels, labels, width, layers),
                          lambda name: reference.take(theirs(name)))
