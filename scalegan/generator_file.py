"""Trained generators: from a run, a checkpoint or an export to a network, and back into one file."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalegan import checkpoint, config, networks
from scalegan.errors import UserError

_KEY = "scalegan"


def load(path: str | Path) -> nn.Module:
    """The EMA generator of a run folder, a checkpoint or an export, in eval mode.

    Its attribute `about` tells the recipe's model, the task and the images it was trained on.

    Raises:
        UserError: where there is no generator at `path`, or a damaged one.
    """
    path = Path(path)
    about, weights = _read_export(path) if path.is_file() else _read_checkpoint(newest(path))
    model = TypeAdapter(config.Model).validate_python(about["model"])
    task = networks.Task(**{**about["task"], "shape": tuple(about["task"]["shape"])})
    generator = networks.generator(model, task)
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit its own description: {str(error).splitlines()[-1].strip()}") from error
    generator.about = about
    return generator.eval().requires_grad_(False)


def save(generator: nn.Module, path: Path) -> None:
    """Writes a loaded generator to one safetensors file, with what it is in the header."""
    weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    temporary = path.with_name(path.name + ".tmp")
    save_file(weights, temporary, metadata={_KEY: json.dumps(generator.about)})
    temporary.rename(path)


def newest(path: Path) -> Path:
    """The newest whole checkpoint of a run folder, or `path` itself where it is one."""
    if (path / "COMPLETE").is_file():
        return path
    whole = checkpoint.complete(path / "checkpoints")
    if not whole:
        raise UserError(f"{path} is no run folder with a whole checkpoint, no checkpoint, and no exported generator")
    for candidate in reversed(whole):
        if checkpoint.verify(candidate) is None:
            return candidate
    raise UserError(f"every checkpoint in {path} is damaged")


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    facts = checkpoint.facts_of(path)
    weights = checkpoint.read(path, prefix="ema/")
    about = {"model": facts["recipe"]["model"], "task": facts["task"], "images": facts["images"],
             "seed": facts["recipe"]["seed"]}
    return about, {name.removeprefix("ema/"): tensor for name, tensor in weights.items()}


def _read_export(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a generator that `scalegan export` wrote ({error})") from error


@torch.no_grad()
def sample(generator: nn.Module, seeds: list[int], labels: Tensor | None, psi: float, batch: int = 32) -> Tensor:
    """Images [N, C, H, W], one per seed: a seed gives the same image in whatever company it is drawn.

    A style-based generator takes its constant noise.
    """
    from scalegan.games.base import latents
    from scalegan.randomness import Draws

    images, style = [], style_of(generator, psi)
    for start in range(0, len(seeds), batch):
        draws = Draws(0, 0, "sample", torch.tensor(seeds[start : start + batch]))
        part = None if labels is None else labels[start : start + batch]
        images.append(generator(latents(generator, draws), part, **style))
    return torch.cat(images)


def style_of(generator: nn.Module, psi: float = 1.0) -> dict[str, Any]:
    """Arguments that make an image depend on its latent and label alone."""
    return {"psi": psi, "noise": "const"} if hasattr(generator, "synthesis") else {"psi": psi}
