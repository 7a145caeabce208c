"""Compares objectives: `study toy` on 2-D points, `study colorization` on photos, `study faces` on faces with
attributes. Each writes table.json, table.md and picture.png.

toy: modes covered, share of good samples, reverse KL. Several seeds are trained as one batched model, one process per
core. The same seeds give the same table, whatever else is requested.

colorization: from lightness to colour under GAN, LSGAN, EBGAN, WGAN and WGAN-GP, each with L1 and L2, and under L1 and
L2 alone, on equal images: error and overlap of colours, colourfulness, PSNR and FD on held-out photos, in a table for
each --test. Figures are medians over the seeds, with the least and the greatest. --photos adds photos.png: photos that
have no colour, such as old ones, in the colours of each training. An interrupted call goes on when it is repeated.

faces: the iterative GAN (Ma et al., 2018) beside others on equal images: how well it recognises attributes, rebuilds
faces under four losses, generates them, changes one attribute or up to six, and how long that takes. A table and a
picture for each question, and whether the paper's claims hold. An interrupted call goes on when it is repeated.
"""

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from scalegan.errors import UsageError
from scalegan.study.settings import OBJECTIVES, SETTINGS
from scalegan.support.arguments import folder, positive, seeds, verb_parser
from scalegan.support.names import did_you_mean

COLORIZATION, FACES, TOY = "colorization", "faces", "toy"
_COLORIZATION_IMAGES, _FACES_IMAGES = 40_000, 130_000
#: The options that each study takes besides --data, --seeds and --out.
_TAKES = {TOY: {"objectives", "workers", "updates"},
          COLORIZATION: {"objectives", "test", "photos", "images", "samples"},
          FACES: {"questions", "test", "images", "translator_images", "samples"}}
_TRANSLATORS = 8        # a translator's training has a share of the images, each of which costs more


def main(arguments: list[str]) -> int:
    parser = verb_parser("study", __doc__,
                         "study toy --out toy",
                         "study toy --objectives wgan_gp,hinge --data ring8 --seeds 0-4",
                         "study colorization --data data/celeba_64 --test data/celeba_64_test --images 40000",
                         "study colorization --data data/celeba_64 --test data/held_out --test data/lfw --photos old/",
                         "study faces --data data/celeba_64 --test data/celeba_64_test --questions rebuilding,speed")
    parser.add_argument("name", metavar="STUDY", choices=[TOY, COLORIZATION, FACES],
                        help="which study: toy, colorization or faces")
    parser.add_argument("--objectives", metavar="A,B", help="some of the study's objectives, such as hinge, or "
                        "'GAN + L1' (default: all)")
    parser.add_argument("--questions", metavar="A,B", help="faces: some of its questions, such as rebuilding (default: "
                        "all)")
    parser.add_argument("--data", metavar="PATH_OR_A,B", help="colorization, faces: prepared photos for training; toy: "
                        f"some of {', '.join(SETTINGS)} (default: all)")
    parser.add_argument("--test", action="append", default=[], type=Path, metavar="PATH", help="colorization, faces: "
                        "prepared photos that no training sees; colorization: again for further sets, with a table "
                        "each")
    parser.add_argument("--photos", type=Path, metavar="PATH", help="colorization: photos without colour, a file, "
                        "folder or zip, the first eight of which are coloured")
    parser.add_argument("--seeds", type=seeds, help="such as 0-4 or 1,5 (default 0; toy: 0-4)")
    parser.add_argument("--out", type=folder, help="folder to write into (default studies/STUDY)")
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1,
                        help="toy: processes (default: one per core)")
    parser.add_argument("--updates", type=positive,
                        help="toy: updates of G, instead of each dataset's own, for a quick look")
    parser.add_argument("--images", type=positive, help="images of each training (default: colorization "
                        f"{_COLORIZATION_IMAGES}, faces {_FACES_IMAGES})")
    parser.add_argument("--translator-images", type=positive, help="faces: images of each training from photo to "
                        f"photo (default: --images / {_TRANSLATORS})")
    parser.add_argument("--samples", type=positive, default=1_000,
                        help="colorization, faces: test photos that figures are over (default 1000)")
    options = parser.parse_args(arguments)
    for name in sorted(set().union(*_TAKES.values()) - _TAKES[options.name]):
        if getattr(options, name) != parser.get_default(name):
            raise UsageError(f"study {options.name} has no use for --{name.replace('_', '-')}; leave it out")
    out = options.out or Path("studies") / options.name
    {TOY: _toy, COLORIZATION: _colorization, FACES: _faces}[options.name](options, out)
    print((out / "table.md").read_text())
    print((out / "picture.png").resolve())
    return 0


def _toy(options: Namespace, out: Path) -> None:
    objectives = _chosen("--objectives", options.objectives, OBJECTIVES)
    data = _chosen("--data", options.data, SETTINGS)
    from scalegan.study import report
    from scalegan.study.toy import study

    out.mkdir(parents=True, exist_ok=True)
    of_seeds = list(dict.fromkeys(options.seeds or seeds("0-4")))
    report.write(out, *study(objectives, data, of_seeds, options.workers, options.updates))


def _colorization(options: Namespace, out: Path) -> None:
    if not options.data or not options.test:
        raise UsageError("study colorization needs prepared photos for training and others to test with; give --data "
                         "PATH --test PATH")
    from scalegan.study.colorization import VARIANTS, study

    variants = _chosen("--objectives", options.objectives, VARIANTS)
    out.mkdir(parents=True, exist_ok=True)
    study(variants, Path(options.data), list(dict.fromkeys(options.test)), list(dict.fromkeys(options.seeds or [0])),
          options.images or _COLORIZATION_IMAGES, options.samples, out, options.photos)


def _faces(options: Namespace, out: Path) -> None:
    if not options.data or len(options.test) != 1:
        raise UsageError("study faces needs prepared photos with attributes for training and others to test with; give "
                         "--data PATH --test PATH")
    from scalegan.study.faces.questions import QUESTIONS
    from scalegan.study.faces.study import study

    questions = _chosen("--questions", options.questions, QUESTIONS)
    images = options.images or _FACES_IMAGES
    out.mkdir(parents=True, exist_ok=True)
    study(questions, options.data, str(options.test[0]), list(dict.fromkeys(options.seeds or [0])), images,
          options.translator_images or max(1, images // _TRANSLATORS), options.samples, out)


def _chosen(option: str, text: str | None, known: Mapping) -> list[str]:
    names = [name.strip() for name in text.split(",")] if text else list(known)
    for name in names:
        if name not in known:
            raise UsageError(f"{option}: there is no '{name}'"
                              + (did_you_mean(name, known) or f"; use one of {', '.join(known)}"))
    return list(dict.fromkeys(names))
