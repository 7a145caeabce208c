"""GAN-CLS and GAN-INT (Reed et al., 2016): images of what a text says."""
