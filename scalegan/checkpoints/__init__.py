"""Checkpoints of a run, and the networks exported from it."""
