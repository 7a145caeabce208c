"""Prints the contents of a checkpoint, or of a run's newest one, as JSON: images, recipe and SHA-256 digests.

`digest` covers every tensor, so two runs are identical exactly when their digests are equal; `groups` has one digest
per part (game, ema, optimizer). Every file is checked against its checksum first.
"""

import json
from pathlib import Path

from scalegan.errors import UsageError
from scalegan.support.arguments import verb_parser


def main(arguments: list[str]) -> int:
    parser = verb_parser("inspect", __doc__,
                         "inspect runs/digits",
                         "inspect runs/digits/checkpoints/000000064000 --verify")
    parser.add_argument("path", type=Path, metavar="CHECKPOINT_OR_RUN")
    parser.add_argument("--verify", action="store_true", help="no longer needed: the files are always checked")
    options = parser.parse_args(arguments)

    if options.path.suffix == ".safetensors" and options.path.is_file():
        raise UsageError(f"{options.path} is a file of weights, which has no digests; name a run or a checkpoint")

    from scalegan.checkpoints import store
    from scalegan.checkpoints.exports import newest

    path = newest(options.path)
    metadata, tensors = store.metadata_of(path), store.read(path)
    groups = sorted({"/".join(name.split("/")[:2 if name.startswith("optimizer") else 1]) for name in tensors})
    print(json.dumps({
        "checkpoint": str(path), "images": metadata["images"], "digest": store.digest(tensors),
        "groups": {g: store.digest({n: t for n, t in tensors.items() if n.startswith(g + "/")}) for g in groups},
        "tensors": len(tensors), "bytes": sum(t.numel() * t.element_size() for t in tensors.values()),
        "iterations": metadata["iterations"], "updates": metadata["updates"], "environment": metadata["environment"],
        "recipe": metadata["recipe"]}, indent=1))
    return 0
