"""Makes a time-lapse of a run's sample grids: how the samples changed in training, as a looping animation (.gif) or a
video (.mp4, extra 'video').

The grids are those in the run's folder samples/, oldest first; all show the same latents, so that each image grows in
its place. The last is held for two seconds.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scalegan.errors import UserError
from scalegan.support.arguments import file_named, report, verb_parser, warn

if TYPE_CHECKING:
    import numpy as np

_FRAME_SECONDS = 0.1
_HELD = 20                      # frames that the last grid is shown for
_MOST_FRAMES = 600              # a minute
_MOST_PIXELS = 500_000_000      # of an animation; GIFs are made in memory
_NAME = re.compile("[0-9]{12,15}\\.png")


def main(arguments: list[str]) -> int:
    parser = verb_parser("timelapse", __doc__,
                         "timelapse runs/digits --out growth.mp4",
                         "timelapse runs/digits --out growth.gif")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--out", type=file_named("--out", ".gif for an animation", ".mp4 for a video"),
                        default=Path("growth.gif"), help="FILE.gif or FILE.mp4 (default growth.gif)")
    options = parser.parse_args(arguments)

    from PIL import Image

    from scalegan.pictures.grids import save_frames

    grids = sorted((path for path in (options.run / "samples").glob("*.png") if _NAME.fullmatch(path.name)),
                   key=lambda path: int(path.stem))
    sizes, broken = {}, []
    for path in grids:
        try:
            with Image.open(path) as picture:
                picture.verify()
                sizes[path] = picture.size
        except (OSError, SyntaxError) as error:     # what Pillow raises for damage
            broken.append(f"{path} is not a picture that can be read ({error}); it was left out")
    size = next(reversed(sizes.values()), (1, 1))
    shown = [path for path in sizes if sizes[path] == size]
    if len(shown) < 2:
        raise UserError(f"{options.run / 'samples'} has {['no sample grid', 'only one sample grid'][len(shown)]}"
                        f"{' of the newest size' if len(sizes) > 1 else ''}, and a time-lapse needs two; train on, or "
                        "with a smaller snapshot.every_images")
    if len(shown) < len(sizes):
        warn(f"{len(sizes) - len(shown)} of {len(sizes)} grids have another size than the newest and were left out")
    most = max(2, min(_MOST_FRAMES, _MOST_PIXELS // (size[0] * size[1]) - _HELD))
    if len(shown) > most:       # evenly, with the first and the last
        shown = [shown[round(i * (len(shown) - 1) / (most - 1))] for i in range(most)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_frames(options.out, _frames([*shown, *[shown[-1]] * _HELD]), _FRAME_SECONDS)
    print(options.out.resolve())
    return report(broken)


def _frames(paths: list[Path]) -> "Iterator[np.ndarray]":
    """Each picture, as uint8 [H, W, 3]."""
    import numpy as np
    from PIL import Image

    for path in paths:
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("RGB"))
