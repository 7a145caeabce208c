"""The option --latents of commands that draw samples: latents from files in place of seeds."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from scalegan.latents.latent_files import Latents
    from scalegan.latents.space import Space


_DEFAULTS = {"psi": 1.0, "noise": "const"}
_NAMES = {"label": "class"}


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--latents", type=Path, nargs="+", metavar="FILE", help="in place of seeds, latents that "
                        "`scalegan project` or `edit` wrote")


def check_alone(options: argparse.Namespace, *others: str) -> None:
    """Raises UsageError if --latents is given with an option that says otherwise what is drawn."""
    for other in others:
        if options.latents and getattr(options, other) not in (None, [], _DEFAULTS.get(other)):
            raise UsageError(f"--latents says what is drawn; leave out --{_NAMES.get(other, other)}")


def read(options: argparse.Namespace, generator: "nn.Module") -> "tuple[Space, Latents]":
    """The generator's space, and the latents in the files.

    Raises:
        UserError: for a file with anything else than latents of this generator.
    """
    from scalegan.latents import latent_files
    from scalegan.latents.space import Space, check_images

    check_images(generator, options.run)
    space = Space(generator)
    return space, latent_files.read(options.latents, space, options.run)
