"""Adversarial variational Bayes (Mescheder et al., 2017)."""
