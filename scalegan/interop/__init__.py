"""Loads the weights of public reference implementations into our networks.

Each function takes a state dict of plain tensors and returns our module in eval mode, with the same outputs as the
reference. The architecture follows from the shapes; what they do not determine is a keyword argument. No random numbers
are drawn, and no memory is shared with the state dict. Meta tensors give a model on the meta device.
"""

from scalegan.interop.biggan import biggan_discriminator, biggan_generator
from scalegan.interop.dcgan import dcgan_discriminator, dcgan_generator
from scalegan.interop.gat import gat_discriminator, gat_generator
from scalegan.interop.image_to_image import patch_discriminator, resnet_i2i_generator, unet_generator
from scalegan.interop.r3gan import r3gan_discriminator, r3gan_generator
from scalegan.interop.stargan import stargan_discriminator, stargan_generator
from scalegan.interop.stylegan2 import stylegan2_discriminator, stylegan2_generator
from scalegan.interop.upscalers import rrdb_generator, srvgg_generator

__all__ = ["biggan_discriminator", "biggan_generator", "dcgan_discriminator", "dcgan_generator", "gat_discriminator",
           "gat_generator", "patch_discriminator", "r3gan_discriminator", "r3gan_generator", "resnet_i2i_generator",
           "rrdb_generator", "srvgg_generator", "stargan_discriminator", "stargan_generator", "stylegan2_discriminator",
           "stylegan2_generator", "unet_generator"]
