"""MAD-GAN (Ghosh et al., 2018)."""
