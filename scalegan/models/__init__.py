"""The networks, one file per family; `families` builds them from a recipe."""
