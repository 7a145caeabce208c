"""The option --text of commands that draw samples: texts as conditions."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UsageError
from scalegan.support.arguments import warn
from scalegan.support.names import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", "--condition", action="append", metavar="TEXT", help="what samples of a run on "
                        "captions should show, or the conditions of one on a table, such as 'age=40, kind=cat'; "
                        "several, each with an option of its own, are repeated over the seeds (default: some of the "
                        "data's)")
    parser.add_argument("--text-encoder", type=Path, metavar="FILE", help="the encoder of the data's captions, if it "
                        "is in a file")


def conditions(generator: "nn.Module", options: argparse.Namespace) -> "tuple[int, Callable[[range], Tensor]]":
    """How many texts there are, and a function from places among the seeds to their vectors [n, dim].

    Raises:
        UsageError: if the encoder cannot encode a text.
        UserError: if it is missing, or another than that of the data.
    """
    import torch

    from scalegan.averages.label_summary import vectors_of
    from scalegan.data import text_encoders
    from scalegan.data.spec import Spec

    stored = generator.about["labels"]
    texts: Sequence[str] = getattr(options, "text", None) or []
    if not texts:
        rows = vectors_of(stored, Spec.of(generator.about["spec"]))
    elif not stored["encoder"]:
        raise UsageError(f"--text: the vectors that {options.run} takes are not of texts; leave it out")
    else:
        encoder = text_encoders.of(stored["encoder"], options.text_encoder)
        option = "--condition" if stored["encoder"]["kind"] == "columns" else "--text"
        if empty := [text for text in texts if not text.strip()]:
            raise UsageError(f"{option} '{empty[0]}' is empty; write what the samples should show")
        for text in texts:
            for word in getattr(encoder, "unknown", lambda text: [])(text):
                warn(f"--text '{text}': no caption of the data has '{word}', which says nothing"
                     f"{did_you_mean(word, encoder.words)}")
        try:
            rows = torch.from_numpy(encoder.encode(texts))
        except ValueError as error:
            raise UsageError(f"{option}: {error}") from error
    return len(rows), lambda places: rows[[place % len(rows) for place in places]]


def check_taken(options: argparse.Namespace) -> None:
    """Raises UsageError if --text or its encoder is given to a model that does not take texts."""
    if getattr(options, "text", None):
        raise UsageError(f"--text: {options.run} has not learnt from captions or a table of conditions; leave it out, "
                         "or use --classes if it has labels")
    if getattr(options, "text_encoder", None):
        raise UsageError(f"--text-encoder: {options.run} has not learnt from captions; leave it out")
