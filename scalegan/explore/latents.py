"""Latents of what the page shows: for downloads, and moved by sliders."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from scalegan.checkpoints import exports
from scalegan.commands.sample import labels_by_place
from scalegan.explore.abilities import Abilities
from scalegan.explore.commands import Asked
from scalegan.games.sampling import keyed_noise
from scalegan.latents import directions, latent_files
from scalegan.latents.latent_files import Latents
from scalegan.latents.space import Space
from scalegan.pictures.grids import save_columns
from scalegan.randomness import Draws
from scalegan.support import devices
from scalegan.support.arguments import seeds


def of_samples(run: Abilities, asked: Asked, path: Path) -> Path:
    """Writes the latents of the samples that `commands.sample` draws, with their noise."""
    space = _space(run, asked)
    found = _of_seeds(space, run, asked)
    if run.styled and asked.noise == "random":
        draws = Draws(0, 0, "sample", torch.tensor(_seeds(asked), device=space.device))
        drawn, shapes = keyed_noise(space.generator, draws), space.generator.synthesis.noise_shapes()
        found = replace(found, noise={layer: drawn(layer, shape).cpu() for layer, shape in shapes.items()})
    found.save(path, space)
    return path


def moved(run: Abilities, asked: Asked, amounts: Mapping[str, float], file: Path, latent: Path | None,
          folder: Path) -> list[Path]:
    """Writes a picture of the samples of the seeds, or of a photo's latent, before and after they move along
    directions; and the latents afterwards. Returns both paths, the picture first.

    Raises:
        UserError: if directions or latent are of other weights.
    """
    space = _space(run, asked)
    start = latent_files.read([latent], space, Path(run.path)) if latent else _of_seeds(space, run, asked)
    found = directions.read(file)
    directions.check_fit(found, file, space, Path(run.path))
    step = sum(found.step(name, amount) for name, amount in amounts.items())
    end = replace(start, points=start.points + step.to(start.points))
    picture, latents = folder / "moved.png", folder / "moved.safetensors"
    save_columns(picture, {"before": start.images(space), "after": end.images(space)})
    end.save(latents, space)
    return [picture, latents]


def check(run: Abilities, latent: Path) -> None:
    """Raises UserError if a file does not hold latents of a run's weights."""
    latent_files.read([latent], _space(run, Asked("0")), Path(run.path))


def _space(run: Abilities, asked: Asked) -> Space:
    average = asked.average if asked.average in run.averages else None
    psi = asked.psi if run.truncates else 1.0
    generator = exports.load_generator(run.path, run.network or None, average, psi)
    return Space(generator.to(devices.available()), psi)


def _of_seeds(space: Space, run: Abilities, asked: Asked) -> Latents:
    texts = [line.strip() for line in asked.texts.splitlines() if line.strip()] if run.texts else []
    options = Namespace(run=run.path, text=texts, text_encoder=None)
    labels = list(asked.labels) if run.labels and asked.labels else None
    _, labels_of = labels_by_place(space.generator, Path(run.path), _seeds(asked), labels, options=options)
    found = labels_of(range(len(_seeds(asked))))
    return Latents(space.of_seeds(_seeds(asked), found), found)


def _seeds(asked: Asked) -> list[int]:
    return seeds("".join(asked.seeds.split()))
