"""Benchmarks: every figure is measured alternately with a peer or a physical limit, in the same run."""
