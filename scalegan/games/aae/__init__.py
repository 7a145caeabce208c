"""Adversarial autoencoders (Makhzani et al., 2015)."""
