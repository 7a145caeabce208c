"""Prints what to look at and what to try next, after `make quickstart`."""

import sys
from pathlib import Path

run = Path(sys.argv[1])
pictures = sorted((run / "samples").glob("*.png"))
print(f"""
Generated digits, one class per column:  {pictures[-1].resolve()}
Real digits, for comparison:             {(run / 'reals.png').resolve()}
Losses:                                  {run / 'metrics.jsonl'}

Try next (in the environment of .venv: `source .venv/bin/activate`):
  scalegan sample {run} --seeds 0-99 --classes 3 --out threes     a hundred threes
  scalegan inspect {run}                                          what the checkpoint holds, with digests
  scalegan recipes                                                  all recipes
  scalegan train recipe=quickstart run_dir=runs/hinge game.loss=hinge game.penalties.r1.gamma=0.1
  torchrun --nproc_per_node 2 scalegan/train.py recipe=quickstart run_dir=runs/two engine.reduction=tree
      two ranks, the same samples and draws; kill it with -9 and run it again: it ends with the same bits
""")
