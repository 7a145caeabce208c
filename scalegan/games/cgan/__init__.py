"""CGAN (Mirza & Osindero, 2014): the two-player game with labels, on its own networks."""
