"""Studies: many small runs side by side, held against each other and against published figures."""
