"""Kills a small run hundreds of times and checks that its result is unchanged: `python tools/soak.py --cycles 200`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    from tools.soaking.soak import main

    sys.exit(main(sys.argv[1:]))
