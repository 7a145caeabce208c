"""pix2pix (Isola et al., 2017): a generator from image to image, and a discriminator of pairs."""
