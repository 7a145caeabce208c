"""A real SLURM on this machine."""
