"""One run: its parts brought together, its loop, its folder, its reports, and how it ends."""
