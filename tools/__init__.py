"""Developer tools: benchmarks, soak tests, a single-machine SLURM, and scripts for the verbs. Not in the wheel."""
