"""Trains a recipe: `accelerate launch scalegan/train.py recipe=NAME key=value ...`, torchrun, or plain python.

The same command run again resumes. Exit codes: 0 finished; 75 stopped by a signal after saving, run again to resume;
2 invalid recipe or arguments; 3 diverged, and the allowed rollbacks are used up; anything else is a failure.
"""

import os
import sys

if __package__ in (None, ""):  # run as a file: its folder must not stay on sys.path, or our modules hide others
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from scalegan.cli import run_verb
from scalegan.config import Recipe, loading
from scalegan.config.help_pages import overview, page
from scalegan.support.output import outlive_readers
from scalegan.training import automatic

USAGE = "train recipe=NAME_OR_PATH [key=value ...] [--print-config] [--help [TOPIC]]"
EXAMPLES = """examples:
  scalegan train recipe=auto data.path=photos
  scalegan train recipe=quickstart run_dir=runs/digits
  accelerate launch scalegan/train.py recipe=celeba_dcgan data.path=data/celeba_64 optimizer.G.lr=1e-4"""


def main(arguments: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        return _help([a for a in arguments if a not in ("--help", "-h")])
    asked = "--print-config" in arguments
    recipe = automatic.load([a for a in arguments if a != "--print-config"], begin=not asked)
    if asked:
        print(loading.to_yaml(recipe), end="")
        return 0
    return run(recipe)


def _help(topics: list[str]) -> int:
    topics = [topic for topic in topics if not topic.startswith(("recipe=", "--"))]
    if topics:
        print(*map(page, topics), sep="\n\n")
    else:
        print(f"usage: scalegan {USAGE}\n\n{__doc__.strip()}\n\n{EXAMPLES}\n\n{overview()}")
    return 0


def run(recipe: Recipe) -> int:
    """Trains on the ranks that the launcher started and returns the exit code."""
    outlive_readers()
    from scalegan.engines.ranks import ending
    from scalegan.training.launch import launch

    return ending(lambda: launch(recipe))


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
