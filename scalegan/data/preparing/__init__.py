"""From images as people have them to a set: sources, shards, verification."""
