"""Adversarial flow models, in one step (Lin et al., 2025)."""
