"""Starts and removes a real SLURM on this machine, for trials and tests: `tools/local_slurm.py up|down`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    from scalegan.cli import run_verb
    from tools.local_cluster.cluster import main

    sys.exit(run_verb(main, sys.argv[1:]))
