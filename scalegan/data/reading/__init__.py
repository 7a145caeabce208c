"""Reads a data set into batches: storage readers, record order, streams, workers, cache."""
