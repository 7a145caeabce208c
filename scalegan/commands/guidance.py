"""The option --guidance of commands that draw samples."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UsageError
from scalegan.support.arguments import finite

if TYPE_CHECKING:
    from torch import nn


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guidance", type=finite, default=1.0, metavar="S", help="above 1, samples are more typical "
                        "of their class, and less varied (model.name=gat; default 1: none)")


def apply(guidance: float, generator: "nn.Module", source: str | Path) -> None:
    """Makes a generator draw with guidance.

    Raises:
        UsageError: if that is asked of one that has none.
    """
    from scalegan.games.sampling import guide

    if guidance == 1:
        return
    try:
        guide(generator, guidance)
    except ValueError as error:
        raise UsageError(f"--guidance {guidance:g}: {source}: {error}") from error
