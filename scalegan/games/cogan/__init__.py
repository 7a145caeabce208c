"""Coupled generative adversarial networks (Liu & Tuzel, 2016)."""
