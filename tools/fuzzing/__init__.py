"""Good files of every kind, ways to damage them, and a place where the commands that read them can do no harm."""
