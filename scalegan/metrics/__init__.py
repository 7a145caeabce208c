"""What samples are worth: features, distances, and the sets that they are taken of."""
