"""What developers use: benchmarks, soak tests, a SLURM on one machine, and doors to verbs. Not in the wheel."""
