"""A run: how it is assembled, its training loop, its folder, its reports, and how it ends."""
