"""Writes the networks of a run, checkpoint or export to a file: the averaged generator and anything else that the run's
game exports.

A .safetensors file holds all networks, and `scalegan.load` and `scalegan sample` read it. Files for other runtimes hold
one network each: .onnx (opset 20), .ts (TorchScript) and .pt2 (`torch.export`), for batches of any size, and photos of
any size where the network takes them; a generator's noise is constant. Each is run on batches of 1, 2 and 5 and
compared with PyTorch before it replaces anything; the largest difference is printed.

With --format autoencoder-kl, the encoder and decoder of a run with model.name=autoencoder_kl become a file in the
layout of diffusers' AutoencoderKL, for `scalegan prepare --encoder`. Its header has the configuration, with 1 over the
standard deviation of latents as their scale; a file named diffusion_pytorch_model.safetensors also gets a config.json.
"""

import argparse
from pathlib import Path

from scalegan.errors import UsageError
from scalegan.support.arguments import file_named, finite, verb_parser

_SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "torchscript": ".ts", "torch-export": ".pt2",
             "autoencoder-kl": ".safetensors"}


def main(arguments: list[str]) -> int:
    parser = verb_parser("export", __doc__,
                         "export runs/digits",
                         "export runs/digits --network G --out digits.safetensors",
                         "export runs/digits --out digits.onnx",
                         "export runs/aae_celeba_latents --format autoencoder-kl --out faces_vae.safetensors")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--out", type=file_named("--out", *_SUFFIXES.values()), help="file to write, of the format "
                        "that its suffix names (default: RUN/exports/<images>.safetensors, with -NAME or -LENGTH after "
                        "the images); where a format holds one network and there are several, -NETWORK is added")
    parser.add_argument("--format", choices=_SUFFIXES, help="the format, where --out does not say (default: "
                        "safetensors)")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks (default: all of them)")
    average = parser.add_mutually_exclusive_group()
    average.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    average.add_argument("--ema-sigma-rel", type=finite, metavar="LENGTH", help="the power-function average of this "
                         "length, such as 0.1, reconstructed from the run's snapshots (recipe key power_ema)")
    options = parser.parse_args(arguments)
    written = options.format or _format_of(options.out)
    if options.out and options.out.suffix.lower() != _SUFFIXES[written]:
        raise UsageError(f"--out {options.out} is not of --format {written}; name a {_SUFFIXES[written]} file")
    if options.run.is_file() and not options.out:
        raise UsageError(f"{options.run} is an export; name a file to write with --out, such as "
                         f"--out {options.run.with_suffix(_SUFFIXES['onnx']).name}")

    from scalegan.checkpoints import exports
    from scalegan.checkpoints.listing import run_of

    if written == "autoencoder-kl":
        return _autoencoder(options)
    networks = exports.load_all(options.run, options.ema, options.ema_sigma_rel, options.network)
    about = next(iter(networks.values())).about
    named = (options.network, options.ema, options.ema_sigma_rel)
    chosen = "".join(f"-{which}" for which in named if which is not None)
    run = run_of(options.run) or options.run        # a checkpoint's own folder goes with it
    out = options.out or run / "exports" / f"{about['images']:012d}{chosen}{_SUFFIXES[written]}"
    out.parent.mkdir(parents=True, exist_ok=True)
    if written == "safetensors":
        exports.save(networks, out)
        print(out.resolve())
        return 0

    from scalegan.checkpoints import runtimes

    for name, network in networks.items():
        path = out if len(networks) == 1 else out.with_stem(f"{out.stem}-{name}")
        difference = runtimes.write(network, path, written)
        print(f"{path.resolve()}  {runtimes.signature(network, written)}, differs from PyTorch by {difference:.1g} "
              "of the largest output", flush=True)
    return 0


def _autoencoder(options: argparse.Namespace) -> int:
    """Writes both halves of an autoencoder in the layout in which others publish theirs."""
    from scalegan.checkpoints import autoencoders

    if options.network:
        raise UsageError("--format autoencoder-kl writes both halves of the autoencoder; leave out --network")
    if not options.out:
        raise UsageError("--format autoencoder-kl needs a file to write; name it with --out, such as --out "
                         "vae.safetensors")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    scale = autoencoders.write(options.run, options.out, options.ema, options.ema_sigma_rel)
    print(f"{options.out.resolve()}  scale {scale:.5g}")
    return 0


def _format_of(out: Path | None) -> str:
    """The format that a file's suffix names."""
    return next((name for name, suffix in _SUFFIXES.items() if out and out.suffix.lower() == suffix), "safetensors")
