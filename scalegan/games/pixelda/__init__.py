"""Pixel-level domain adaptation (Bousmalis et al., 2017)."""
