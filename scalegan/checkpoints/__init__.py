"""A run's state on disk, and the networks that leave it."""
