"""Studies: many small runs, compared with each other and with published figures."""
