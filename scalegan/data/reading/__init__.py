"""From a set to batches: readers by storage, order, stream, workers, cache."""
