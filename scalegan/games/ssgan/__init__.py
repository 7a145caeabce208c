"""Semi-supervised learning with a GAN (Salimans et al., 2016, section 5)."""
