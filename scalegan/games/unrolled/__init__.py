"""Unrolled GAN (Metz et al., 2017)."""
