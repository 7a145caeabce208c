"""Generates images from a run, a checkpoint or an export: a grid and single PNGs; or volumes: a grid of their pictures,
and for each its voxels (.npz) and its surface (.obj).

Seed n gives the same sample whatever else is generated. If the model has classes and --classes is not given, column i
of the grid shows class i. The grid shows the first samples, as many as make a picture of moderate size. The same
command run again after an interruption goes on where it was.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UsageError, UserError
from scalegan.support.arguments import finite, folder, label_numbers, names, seeds, verb_parser, whole

if TYPE_CHECKING:
    from torch import Tensor, nn


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    import torch

    from scalegan.checkpoints import exports, store
    from scalegan.pictures.samples import IMAGES, write_samples
    from scalegan.pictures.solids import VOLUMES

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = exports.load_generator(options.run, options.network, options.ema, options.psi,
                                       options.standing_statistics)
    kind = generator.about["spec"]["kind"]
    if kind == "points":
        raise UserError(f"{options.run} makes 2-D points, not images; see the sample grids in the run's samples/")
    weights = {f"{part}/{name}": tensor for part, module in generator.parts.items()
               for name, tensor in module.state_dict().items()}
    made_with = [store.digest(weights), options.psi, options.classes, options.columns, device.type]
    generator.to(device)
    columns, labels_of = labels_by_place(generator, options.run, options.seeds, options.classes, options.columns)

    def draw(part: slice) -> "Tensor":
        return exports.sample(generator, options.seeds[part], labels_of(range(*part.indices(len(options.seeds)))),
                              options.psi)

    try:
        shown = write_samples(options.out, options.seeds, draw, made_with, columns,
                              VOLUMES if kind == "volume" else IMAGES)
    except ValueError as error:     # the model has no truncation
        raise UsageError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UserError(f"the memory of {torch.cuda.get_device_name()} is full; free some, or set "
                        "CUDA_VISIBLE_DEVICES= to use the CPU; the same command goes on") from error
    if shown < len(options.seeds):
        print(f"the grid shows the first {shown:,} of {len(options.seeds):,} samples")
    print((options.out / "grid.png").resolve())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("sample", __doc__,
                         "sample runs/digits --seeds 0-63 --out pictures",
                         "sample digits.safetensors --classes 3,7 --columns 8",
                         "sample runs/animals --classes cat,dog")
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--seeds", type=seeds, default=seeds("0-63"), help="such as 0-63 or 1,5,9 (default 0-63)")
    parser.add_argument("--psi", type=finite, default=1.0,
                        help="truncation, if the model supports it (default 1: none)")
    parser.add_argument("--classes", type=names, help="classes, by name or number, repeated over the seeds; attributes "
                        "that all samples have, besides those of random records")
    parser.add_argument("--columns", type=whole(1, 1000),
                        help="grid columns (default 8, or the number of classes up to 10)")
    parser.add_argument("--standing-statistics", type=whole(), metavar="N", help="compute BatchNorm's statistics over "
                        "N batches of 64 (default 16 for a run, an export's own for an export); 0 keeps those stored")
    parser.add_argument("--out", type=folder, default=Path("samples"), help="folder to write into")
    parser.add_argument("--network", metavar="NAME", help="one of the game's networks, if several generate samples")
    parser.add_argument("--ema", metavar="NAME", help="one of the run's extra averages (recipe key emas)")
    return parser


def labels_by_place(generator: "nn.Module", run: Path, seeds: Sequence[int], asked: Sequence[str] | None,
                    columns: int | None = None) -> tuple[int, Callable[[range], "Tensor | None"]]:
    """The grid's columns, and a function from places among the seeds to labels.

    Args:
        asked: classes or attributes, by name or number; None if the user has named none.

    Raises:
        UsageError: for labels that the model does not have.
    """
    import torch

    from scalegan.averages.label_summary import with_attributes
    from scalegan.data.spec import Spec

    spec = Spec.of(generator.about["spec"])
    count = spec.num_classes
    columns = columns or (min(count, 10) if count else 8)
    if not count:
        if asked:
            raise UsageError(f"{run} is unconditional; leave out --classes")
        return columns, lambda places: None
    chosen = label_numbers("--classes", asked or [], count, spec.label_names, run,
                           "attributes" if spec.multilabel else "classes")
    if spec.multilabel:
        stored = generator.about.get("labels")
        return columns, lambda places: with_attributes(stored, spec, [seeds[i] for i in places], chosen)
    classes = chosen or list(range(min(count, columns)))
    return columns, lambda places: torch.tensor([classes[place % len(classes)] for place in places])
