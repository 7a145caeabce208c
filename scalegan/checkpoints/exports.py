"""Trained generators: from a run, a checkpoint or an export to a network, and back into one file."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalegan import config
from scalegan.averages import power_ema
from scalegan.checkpoints import store
from scalegan.data.spec import Task
from scalegan.errors import UserError
from scalegan.models import families
from scalegan.support.files import replacing

_KEY = "scalegan"


def load(path: str | Path, ema: str | None = None, sigma_rel: float | None = None) -> nn.Module:
    """The EMA generator of a run folder, a checkpoint or an export, in eval mode.

    Its attribute `about` tells the recipe's model, the task and the images it was trained on.

    Args:
        ema: one of the recipe's `emas` instead of the main one.
        sigma_rel: the power-function average of that length instead, made from the run's snapshots.

    Raises:
        UserError: where there is no generator at `path`, a damaged one, or no such average.
    """
    path = Path(path)
    if path.is_file():
        if ema is not None or sigma_rel is not None:
            raise UserError(f"{path} is an export, which holds one average; name its run instead")
        about, weights = _read_export(path)
    elif sigma_rel is None:
        about, weights = _read_checkpoint(newest(path), "ema" if ema is None else f"emas/{ema}")
    else:
        about, weights = _reconstruct(newest(path), sigma_rel)
    generator = _network(about)
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit its own description: {str(error).splitlines()[-1].strip()}") from error
    generator.about = about
    return generator.eval().requires_grad_(False)


def save(generator: nn.Module, path: Path) -> None:
    """Writes a loaded generator to one safetensors file, with what it is in the header."""
    weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    with replacing(path) as unfinished:
        save_file(weights, unfinished, metadata={_KEY: json.dumps(generator.about)})


def newest(path: Path) -> Path:
    """The newest whole checkpoint of a run folder, or `path` itself where it is one."""
    if (path / "COMPLETE").is_file():
        return path
    whole = store.complete(path / "checkpoints")
    if not whole:
        raise UserError(f"{path} is no run folder with a whole checkpoint, no checkpoint, and no exported generator")
    for candidate in reversed(whole):
        if store.verify(candidate) is None:
            return candidate
    raise UserError(f"every checkpoint in {path} is damaged")


def _network(about: dict[str, Any]) -> nn.Module:
    model = TypeAdapter(config.Model).validate_python(about["model"])
    task = Task(**{**about["task"], "shape": tuple(about["task"]["shape"])})
    return families.generator(model, task)


def _reconstruct(path: Path, sigma_rel: float) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Parameters of the average of that length, and the buffers of the checkpoint."""
    facts = store.facts_of(path)
    lengths = (facts["recipe"].get("power_ema") or {}).get("sigma_rel")
    if not lengths:
        raise UserError(f"{path} has no power-function averages to make others of; train with power_ema.every_images=N")
    if not 0 < sigma_rel < power_ema.LONGEST:
        raise UserError(f"sigma_rel={sigma_rel}: a length lies between 0 and {power_ema.LONGEST:.3f}, best not far "
                        f"from the run's {lengths[0]} and {lengths[1]}")
    averages = {sigma: _read_checkpoint(path, f"power_ema/{sigma}") for sigma in lengths}
    about, whole = averages[lengths[0]]
    newest = {sigma: {name: weights[name] for name, _ in _network(about).named_parameters()}
              for sigma, (_, weights) in averages.items()}
    try:
        made = power_ema.reconstruct(path.resolve().parent.parent, facts["images"], facts["iterations"], sigma_rel,
                                     newest)
    except (SafetensorError, KeyError) as error:
        raise UserError(f"cannot read a snapshot in {path.parent.parent / power_ema.FOLDER}: {error}; remove the "
                        "damaged one, the others may suffice") from error
    return about | {"sigma_rel": sigma_rel}, whole | made


def _read_checkpoint(path: Path, group: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    facts = store.facts_of(path)
    weights = store.read(path, prefix=f"{group}/")
    if not weights:
        has = ", ".join(facts["recipe"].get("emas", {})) or "none but the main one"
        raise UserError(f"{path} has no average '{group.removeprefix('emas/')}'; it has {has}")
    about = {"model": facts["recipe"]["model"], "task": facts["task"], "images": facts["images"],
             "seed": facts["recipe"]["seed"]}
    return about, {name.removeprefix(f"{group}/"): tensor for name, tensor in weights.items()}


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
