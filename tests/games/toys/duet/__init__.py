"""A game for tests, with everything that games of several streams and players ask of the house."""
