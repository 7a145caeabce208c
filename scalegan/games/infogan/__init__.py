"""InfoGAN (Chen et al., 2016)."""
