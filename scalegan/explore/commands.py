"""The commands of the page's tabs."""

import csv
import io
import math
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalegan.explore.abilities import Abilities
from scalegan.explore.commanding import Command
from scalegan.support.arguments import seeds as parsed


@dataclass(frozen=True)
class Asked:
    """What the settings beside the tabs ask of samples.

    Args:
        seeds: as `scalegan sample` takes them.
        labels: names of classes or attributes.
        texts: one in each line.
        noise: of style-based generators, "const" or "random".
        average: a name; empty for the main one.
    """

    seeds: str
    labels: Sequence[str] = ()
    texts: str = ""
    psi: float = 1.0
    noise: str = "const"
    average: str = ""

    @property
    def columns(self) -> int:
        """Of a grid that is about square."""
        try:
            return math.ceil(math.sqrt(len(parsed(_spaceless(self.seeds)))))
        except ArgumentTypeError:       # the command says so
            return 1


def sample(run: Abilities, asked: Asked) -> Command:
    noise = ["--noise", "random"] if run.styled and asked.noise == "random" else []
    by_column = (run.labels and not run.several) or asked.texts.strip()     # a class or a text in each
    square = [] if by_column else ["--columns", str(asked.columns)]
    return Command("sample", (run.path, "--seeds", _spaceless(asked.seeds), *_labels(run, asked), *_texts(run, asked),
                              *_how(run, asked), *noise, *square), "samples")


def walk(run: Abilities, asked: Asked, steps: int, form: str) -> Command:
    """From each seed to the next, with one label throughout."""
    one = ["--class", asked.labels[0]] if run.labels and asked.labels else []
    return Command("interpolate", (run.path, "--seeds", _spaceless(asked.seeds), "--steps", str(steps), *one,
                                   *_texts(run, asked), *_how(run, asked)), f"walk.{form}")


def mix(run: Abilities, asked: Asked, fine: str) -> Command:
    one = ["--class", asked.labels[0]] if run.labels and asked.labels else []
    return Command("interpolate", (run.path, "--seeds", _spaceless(asked.seeds), "--mix", _spaceless(fine), *one,
                                   *_how(run, asked)), "mixed.png")


def find_directions(run: Abilities, kind: str, asked: Asked) -> Command:
    return Command("directions", (run.path, "--unsupervised", kind, *_network(run, asked)),
                   f"{Path(run.path).stem}-{kind}.safetensors")


def edit(run: Abilities, asked: Asked, amounts: Mapping[str, float], directions: Path | None,
         latent: Path | None = None) -> Command:
    """Samples of the seeds, or the latent of a photo, moved along directions.

    Args:
        directions: the file that has them; None for those beside the run.
    """
    start = ["--latents", latent] if latent else ["--seeds", _spaceless(asked.seeds), *_labels(run, asked),
                                                  *_psi(run, asked)]
    moves = [word for name, amount in amounts.items() for word in ("--direction", f"{name}={amount:+g}")]
    file = ["--directions", directions] if directions else []
    return Command("edit", (run.path, *moves, *start, *file, *_network(run, asked)), "edit.png")


def project(run: Abilities, asked: Asked, photo: Path, space: str, steps: int, tune: bool) -> Command:
    styled = ["--space", space, "--steps", str(steps)] if run.styled else []
    return Command("project", (photo, run.path, *styled, *(["--pivotal-tuning"] if tune else []), *_labels(run, asked),
                               *_network(run, asked)), "projected")


def answer(run: Abilities, network: str, photos: Iterable[Path], wanted: Sequence[str], unwanted: Sequence[str],
           ) -> Command:
    """Photos turned into images."""
    values = ["--set", _strengths(run.sets, wanted, unwanted)] if run.sets and (wanted or unwanted) else []
    return Command("apply", (run.path, *photos, "--network", network, *values), "answers")


def face(run: Abilities, action: str, photos: Iterable[Path], wanted: Sequence[str], unwanted: Sequence[str],
         aligned: bool) -> Command:
    values = ["--set", _strengths(run.labels or run.sets, wanted, unwanted)] if action == "transform" else []
    return Command("faces", (action, run.path, *photos, *values, *(["--aligned"] if aligned else [])), "faces")


def nearest(samples: Path, data: str, count: int) -> Command:
    """The first of some samples beside the real images that are nearest in feature space.

    Args:
        samples: a folder that `sample` wrote.
        count: of real images to look at.
    """
    return Command("evaluate", (samples, "--data", data, "--metrics", "kid", "--num-reals", str(count)), "nearest.png",
                   "--nearest")


def _how(run: Abilities, asked: Asked) -> list[str]:
    return [*_psi(run, asked), *_network(run, asked)]


def _psi(run: Abilities, asked: Asked) -> list[str]:
    return ["--psi", f"{asked.psi:g}"] if run.truncates and asked.psi != 1 else []


def _network(run: Abilities, asked: Asked) -> list[str]:
    average = ["--ema", asked.average] if asked.average in run.averages else []
    return [*(["--network", run.network] if run.network else []), *average]


def _labels(run: Abilities, asked: Asked) -> list[str]:
    return ["--classes", _listed(asked.labels)] if run.labels and asked.labels else []


def _texts(run: Abilities, asked: Asked) -> list[str]:
    return [word for line in asked.texts.splitlines() if run.texts and line.strip()
            for word in (f"--{run.texts}", line.strip())]


def _strengths(known: Sequence[str], wanted: Sequence[str], unwanted: Sequence[str]) -> str:
    return ",".join([*(f"{name}=1" for name in wanted if name in known),
                     *(f"{name}=0" for name in unwanted if name in known and name not in wanted)])


def _listed(names: Sequence[str]) -> str:
    """Names as the commands take them; those with commas in quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def _spaceless(seeds: str) -> str:
    return "".join(seeds.split())
