"""Damages files that ScaleGAN reads and checks that it fails cleanly: `python tools/fuzz.py --seed 1 --cases 1000`."""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}   # before torch

if __name__ == "__main__":
    from tools.fuzzing.fuzz import main

    sys.exit(main(sys.argv[1:]))
