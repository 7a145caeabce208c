"""Public reference implementations' weights in our networks.

Each function takes a state dict of plain tensors and returns our module in eval mode, whose outputs are those of the
reference. Shapes tell the architecture; what they do not tell is a keyword. Nothing is drawn, and nothing is shared
with the state dict. Meta tensors give a model on the meta device.
"""

from scalegan.interop.biggan import biggan_discriminator, biggan_generator
from scalegan.interop.dcgan import dcgan_discriminator, dcgan_generator
from scalegan.interop.r3gan import r3gan_discriminator, r3gan_generator
from scalegan.interop.stylegan2 import stylegan2_discriminator, stylegan2_generator

__all__ = ["biggan_discriminator", "biggan_generator", "dcgan_discriminator", "dcgan_generator",
           "r3gan_discriminator", "r3gan_generator", "stylegan2_discriminator", "stylegan2_generator"]
