"""A test game with everything that games of several streams and players need from the package."""
