"""Reads a dataset into batches: storage readers, record order, streams, workers, cache."""
