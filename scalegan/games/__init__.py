"""Games: the players, what each minimises, and in which order. One folder per game, and one line in `table`."""
