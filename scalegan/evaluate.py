"""`scalegan evaluate` on several ranks: `torchrun --nproc_per_node 4 scalegan/evaluate.py RUN ...`."""

import os
import sys

if __package__ in (None, ""):  # run as a file: its folder must not stay on sys.path, or our modules hide others
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if __name__ == "__main__":
    from scalegan.cli import run_verb
    from scalegan.commands.evaluate import main

    sys.exit(run_verb(main, sys.argv[1:]))
