"""Pictures for people to look at: grids, charts, pages."""
