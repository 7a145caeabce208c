"""Games: who plays, what each minimises, in which order. A folder for each, and a line in `table`."""
