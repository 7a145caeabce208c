"""Prepares image sets: sources, shards, verification."""
