"""`scalegan plan` for a checkout that is not installed."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    from scalegan.cli import run_verb
    from scalegan.commands.plan import main

    sys.exit(run_verb(main, sys.argv[1:]))
