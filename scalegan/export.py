"""Writes the EMA generator of a run or checkpoint to one safetensors file that `scalegan.load` and `sample` read."""

import argparse
from pathlib import Path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scalegan export", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--out", type=Path, help="file to write (default: RUN/exports/<images>.safetensors)")
    options = parser.parse_args(arguments)

    from scalegan import generator_file

    generator = generator_file.load(options.run)
    out = options.out or options.run / "exports" / f"{generator.about['images']:012d}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    generator_file.save(generator, out)
    print(out.resolve())
    return 0
