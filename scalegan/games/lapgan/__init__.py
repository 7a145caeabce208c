"""LAPGAN (Denton et al., 2015)."""
