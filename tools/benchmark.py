"""Benchmarks beside a peer or a limit: `tools/benchmark.py SUITE [--only NAME] [--json]`.

Suites are loader, step, checkpoint, metrics, and launches: what an iteration starts on a GPU, counted without one.

`loader` runs on the photos of `--data` (a folder or zip); what peers it needs come with `pip install -e '.[bench]'`.
`step --model NAME key=value ...` times any configuration instead: seconds per step of one update of every phase.
"""

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.benchmarks import harness


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["loader", "step", "checkpoint", "metrics", "launches"])
    parser.add_argument("--only", metavar="NAME", help="one benchmark of the suite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, metavar="PATH", help="of suite loader: folder or zip of photos (default: "
                        "lfw.zip in $SCALEGAN_TEST_DATA or in ../shared/data, else made pictures)")
    parser.add_argument("--model", metavar="NAME", help="of suite step: time this family")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="of --model: recipe keys")
    options = parser.parse_intermixed_args()  # keys may stand behind options
    suite = import_module(f"tools.benchmarks.{options.suite}")
    if options.model:
        print(json.dumps(suite.time_configuration([f"model.name={options.model}", *options.keys])))
        return 0
    chosen = [options.only] if options.only else list(suite.BENCHMARKS)
    if options.only and options.only not in suite.BENCHMARKS:
        parser.error(f"{options.suite} has {', '.join(suite.BENCHMARKS)}")
    if options.data:
        os.environ["SCALEGAN_BENCHMARK_DATA"] = str(options.data)
    results = list(filter(None, (suite.BENCHMARKS[name]() for name in chosen)))     # None: left out, and said so
    print(json.dumps(harness.as_json(results)) if options.json else harness.table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
