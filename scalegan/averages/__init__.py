"""Moving averages of weights."""
