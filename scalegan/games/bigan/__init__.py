"""Bidirectional GAN (Donahue et al., 2017)."""
