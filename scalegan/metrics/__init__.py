"""Evaluation metrics: features, distances, and the image sets that they compare."""
