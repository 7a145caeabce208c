"""Pictures for people to look at: grids, strips, pages of photos."""
