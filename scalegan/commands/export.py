"""Writes the networks of a run or checkpoint to one safetensors file, which `scalegan.load` and `scalegan sample` read:
the averaged generator and anything else that the run's game exports."""

from pathlib import Path

from scalegan.support.arguments import file_named, finite, verb_parser


def main(arguments: list[str]) -> int:
    parser = verb_parser("export", __doc__,
                         "export runs/digits",
                         "export runs/digits --network G --out digits.safetensors")
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--out", type=file_named("--out", ".safetensors"), help=".safetensors file to write "
                        "(default: RUN/exports/<images>.safetensors, with -NAME or -LENGTH after the images)")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks (default: all of them)")
    average = parser.add_mutually_exclusive_group()
    average.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    average.add_argument("--ema-sigma-rel", type=finite, metavar="LENGTH", help="the power-function average of this "
                         "length, such as 0.1, reconstructed from the run's snapshots (recipe key power_ema)")
    options = parser.parse_args(arguments)

    from scalegan.checkpoints import exports

    networks = exports.load_all(options.run, options.ema, options.ema_sigma_rel, options.network)
    about = next(iter(networks.values())).about
    named = (options.network, options.ema, options.ema_sigma_rel)
    chosen = "".join(f"-{which}" for which in named if which is not None)
    out = options.out or options.run / "exports" / f"{about['images']:012d}{chosen}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    exports.save(networks, out)
    print(out.resolve())
    return 0
