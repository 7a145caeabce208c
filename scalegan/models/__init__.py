"""The networks, a file for each family beside its paper; `families` chooses among them."""
