"""Benchmarks against a peer or a limit: `tools/benchmark.py SUITE [--only NAME] [--json]`.

The suites are loader, step, checkpoint, metrics, and launches: what an iteration launches on a GPU, counted without it.

`loader` reads the photos in `--data` (a folder or zip); `pip install -e '.[bench]'` installs its peers.
`step --model NAME key=value ...` times any configuration instead: seconds for one update of every phase.
"""

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scalegan.cli import run_verb
from tools.benchmarks import harness


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["loader", "step", "checkpoint", "metrics", "launches"])
    parser.add_argument("--only", metavar="NAME", help="one benchmark of the suite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, metavar="PATH", help="for suite loader: folder or zip of photos (default: "
                        "lfw.zip in $SCALEGAN_TEST_DATA or in ../shared/data, else synthetic pictures)")
    parser.add_argument("--model", metavar="NAME", help="for suite step: time this family")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="recipe keys for --model")
    options = parser.parse_intermixed_args(arguments)  # keys may follow options
    suite = import_module(f"tools.benchmarks.{options.suite}")
    if options.model:
        print(json.dumps(suite.time_configuration([f"model.name={options.model}", *options.keys])))
        return 0
    chosen = [options.only] if options.only else list(suite.BENCHMARKS)
    if options.only and options.only not in suite.BENCHMARKS:
        parser.error(f"suite {options.suite} has no benchmark '{options.only}'; use one of "
                     f"{', '.join(suite.BENCHMARKS)}")
    if options.data:
        os.environ["SCALEGAN_BENCHMARK_DATA"] = str(options.data)
    results = list(filter(None, (suite.BENCHMARKS[name]() for name in chosen)))     # None: skipped, with a message
    print(json.dumps(harness.as_json(results)) if options.json else harness.table(results))
    return 0


if __name__ == "__main__":
    sys.exit(run_verb(main, sys.argv[1:]))
