"""Generates images from a run, a checkpoint or an export: a grid and single PNGs; or volumes: a grid of their pictures,
and for each its voxels (.npz) and its surface (.obj). Images of 16 bits, or of other than 1 or 3 channels, come as .npy
files too; those with alpha are PNGs with alpha.

Seed n gives the same sample whatever else is generated. If the model has classes and --classes is not given, column i
of the grid shows class i. The grid shows the first samples, as many as make a picture of moderate size. The same
command run again after an interruption goes on where it was.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scalegan.commands import guidance, stored_latents, texts
from scalegan.errors import UsageError, UserError
from scalegan.support import devices
from scalegan.support.arguments import finite, folder, label_numbers, names, seeds, verb_parser, whole

if TYPE_CHECKING:
    from torch import Tensor, nn


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    import torch

    from scalegan.checkpoints import exports, store
    from scalegan.data.spec import Spec
    from scalegan.pictures.bands import form_of
    from scalegan.pictures.samples import write_samples
    from scalegan.pictures.solids import VOLUMES

    device = devices.available()
    generator = exports.load_generator(options.run, options.network, options.ema, options.psi,
                                       options.standing_statistics)
    guidance.apply(options.guidance, generator, options.run)
    kind = generator.about["spec"]["kind"]
    if kind == "points":
        raise UserError(f"{options.run} makes 2-D points, not images; see the sample grids in the run's samples/")
    weights = {f"{part}/{name}": tensor for part, module in generator.parts.items()
               for name, tensor in module.state_dict().items()}
    guided = [f"guidance {options.guidance}"] if options.guidance != 1 else []
    made_with = [store.digest(weights), options.psi, options.classes, options.columns, device.type,
                 options.noise, *guided, *(options.text or [])]
    asked = (_of_latents if options.latents else _of_seeds)(options, generator.to(device))
    try:
        shown = write_samples(options.out, asked.numbers, asked.draw, [*made_with, *asked.made_with], asked.columns,
                              VOLUMES if kind == "volume" else form_of(Spec.of(generator.about["spec"])), asked.what)
    except ValueError as error:     # the model has no truncation
        raise UsageError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UserError(f"the memory of {torch.cuda.get_device_name()} is full; free some, or set "
                        "CUDA_VISIBLE_DEVICES= to use the CPU; the same command goes on") from error
    if shown < len(asked.numbers):
        print(f"the grid shows the first {shown:,} of {len(asked.numbers):,} samples")
    print((options.out / "grid.png").resolve())
    return 0


class _Asked(NamedTuple):
    """What is to be drawn.

    Args:
        numbers: of the samples: seeds, or places among the latents, as `what` says.
        draw: makes a part of them.
        columns: of the grid.
        made_with: what it depends on besides weights and options.
    """

    numbers: list[int]
    draw: "Callable[[slice], Tensor]"
    columns: int
    what: str = "seed"
    made_with: tuple[str, ...] = ()


def _of_seeds(options: argparse.Namespace, generator: "nn.Module") -> _Asked:
    from scalegan.checkpoints import exports
    from scalegan.games.sampling import is_styled

    numbers = options.seeds or seeds("0-63")
    if options.noise == "random" and not is_styled(generator):
        raise UsageError(f"--noise: {options.run} is not style-based, and takes none; leave it out")
    columns, labels_of = labels_by_place(generator, options.run, numbers, options.classes, options.columns, options)

    def draw(part: slice) -> "Tensor":
        return exports.sample(generator, numbers[part], labels_of(range(*part.indices(len(numbers)))), options.psi,
                              noise=options.noise)

    return _Asked(numbers, draw, columns)


def _of_latents(options: argparse.Namespace, generator: "nn.Module") -> _Asked:
    stored_latents.check_alone(options, "seeds", "classes", "psi", "text", "noise")
    space, latents = stored_latents.read(options, generator)
    return _Asked(list(range(len(latents))), lambda part: latents[part].images(space), options.columns or 8, "latent",
                  (latents.digest(),))


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("sample", __doc__,
                         "sample runs/digits --seeds 0-63 --out pictures",
                         "sample digits.safetensors --classes 3,7 --columns 8",
                         "sample runs/animals --classes cat,dog",
                         'sample runs/emoji --text "red heart" --seeds 0-7')
    parser.add_argument("run", type=Path, help="run folder, checkpoint, or exported .safetensors")
    parser.add_argument("--seeds", type=seeds, help="such as 0-63 (the default) or 1,5,9")
    texts.add_argument(parser)
    stored_latents.add_argument(parser)
    parser.add_argument("--psi", type=finite, default=1.0,
                        help="truncation, if the model supports it (default 1: none)")
    guidance.add_argument(parser)
    parser.add_argument("--noise", choices=("const", "random"), default="const", help="of style-based generators: the "
                        "same for all samples (the default), or one for each seed")
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
                    columns: int | None = None, options: argparse.Namespace | None = None,
                    ) -> tuple[int, Callable[[range], "Tensor | None"]]:
    """The grid's columns, and a function from places among the seeds to labels.

    Args:
        asked: classes or attributes, by name or number; None if the user has named none.
        options: of a command that takes texts.

    Raises:
        UsageError: for labels that the model does not have.
    """
    import torch

    from scalegan.averages.label_summary import with_attributes
    from scalegan.data.spec import Spec

    spec = Spec.of(generator.about["spec"])
    count = spec.num_classes
    options = options or argparse.Namespace(run=run)
    if spec.vector_dim:
        if asked:
            raise UsageError(f"{run} takes texts, not classes; write --text in place of --classes")
        texts_given, labels_of = texts.conditions(generator, options)
        return columns or min(texts_given, 8), labels_of
    texts.check_taken(options)
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
