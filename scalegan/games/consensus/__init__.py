"""Consensus optimisation (Mescheder, Nowozin & Geiger, 2017)."""
