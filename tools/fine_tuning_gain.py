"""How many images fine-tuning saves: `python tools/fine_tuning_gain.py FOLDER --source SET --target SET`.

Trains a DCGAN by `recipe=auto` on --source, and by the same recipe two on --target: from random weights, and with
`init_from` those of the first. Every checkpoint of the two is compared with --target by KID; with --freeze, a third
begins likewise and keeps what the patterns match. Run again, it goes on where it stopped. Prints one JSON object:

kid         by run, by images
saved       by run, images after which its KID is first as low as that of random weights ever gets, and the images at
            which that was; null if it never is
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH, TUNED, FROZEN = "random weights", "init_from", "init_from, freeze"
_REALS = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the runs are")
    parser.add_argument("--source", required=True, metavar="SET", help="prepared images to begin with")
    parser.add_argument("--target", required=True, metavar="SET", help="prepared images, of the same size, to end with")
    parser.add_argument("--source-images", type=int, default=200_000, help="(default 200000)")
    parser.add_argument("--images", type=int, default=60_000, help="of each run on --target (default 60000)")
    parser.add_argument("--every", type=int, default=4_000, help="images between checkpoints (default 4000)")
    parser.add_argument("--freeze", help="patterns for a third run, such as D.features.0")
    parser.add_argument("--num-samples", type=int, default=500, help=f"beside {_REALS} real images (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="of the runs on --target (default 1)")
    options = parser.parse_args()
    source = options.folder / "source"
    train(source, options.source, options.source_images, options.source_images, 0)
    runs = {SCRATCH: [], TUNED: [f"init_from={source}"]}
    if options.freeze:
        runs[FROZEN] = [f"init_from={source}", f"freeze=[{options.freeze}]"]
    kid = {}
    for name, keys in runs.items():
        run = options.folder / f"{name.replace(', ', '_').replace(' ', '_')}-{options.seed}"
        train(run, options.target, options.images, options.every, options.seed, *keys)
        kid[name] = {int(path.name): evaluate(path, options.target, options.num_samples)
                     for path in sorted((run / "checkpoints").glob("[0-9]*[0-9]")) if int(path.name)}
    print(json.dumps({"kid": kid, "saved": saved(kid)}, indent=1))
    return 0


def train(run: Path, data: str, images: int, every: int, seed: int, *keys: str) -> None:
    subprocess.run([sys.executable, "-m", "scalegan", "train", "recipe=auto", f"data.path={data}", f"run_dir={run}",
                    f"seed={seed}", f"total_images={images}", f"checkpoint={{every_images: {every}, keep: 1000}}",
                    f"snapshot.every_images={every}", *keys], check=True, stdout=sys.stderr, cwd=ROOT)


def evaluate(checkpoint: Path, data: str, samples: int) -> float:
    """KID of a checkpoint's samples, kept in the run's folder."""
    kept = checkpoint.parent.parent / f"kid-{checkpoint.name}-{samples}.json"
    if not kept.exists():
        done = subprocess.run([sys.executable, "-m", "scalegan", "evaluate", str(checkpoint), "--data", data,
                               "--metrics", "kid", "--num-samples", str(samples), "--num-reals", str(_REALS)],
                              check=True, stdout=subprocess.PIPE, cwd=ROOT)
        kept.write_bytes(done.stdout)
    return round(json.loads(kept.read_text())["metrics"]["kid"], 4)


def saved(kid: dict[str, dict[int, float]]) -> dict[str, list[int | None]]:
    """By run: images after which it is first as good as random weights ever get, and when these are."""
    best = min(kid[SCRATCH].values())
    when = next(images for images, value in kid[SCRATCH].items() if value == best)
    return {name: [next((images for images, value in curve.items() if value <= best), None), when]
            for name, curve in kid.items() if name != SCRATCH}


if __name__ == "__main__":
    sys.exit(main())
