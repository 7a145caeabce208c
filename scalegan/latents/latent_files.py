"""Latents in files: those of projected photos and of edits, which `sample`, `interpolate` and `edit` take."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scalegan.checkpoints import store
from scalegan.checkpoints.players import last_line
from scalegan.errors import UserError
from scalegan.latents.directions import digest_of
from scalegan.latents.space import Space
from scalegan.support.files import replacing
from scalegan.support.reading import DamagedFile, parse_json, regular

_KEY, _NOISE = "scalegan_latents", "noise/"


@dataclass(frozen=True)
class Header:
    """What a file says of its latents: a digest of the generator's parameters, its name among the game's networks, and
    the real images that it was trained on."""

    digest: str
    network: str
    images: int


@dataclass(frozen=True)
class Latents:
    """Latents of one generator.

    Args:
        points: [n, dim] of z or w; or [n, num_ws, w_dim], a w for each layer, which is called W+.
        labels: classes [n] or attributes [n, K] with which they are drawn; None if there are none, or for w.
        noise: by layer of a style-based generator, [n, 1, H, W]; empty for its constant noise.
    """

    points: Tensor
    labels: Tensor | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, part: slice) -> "Latents":
        return Latents(self.points[part], None if self.labels is None else self.labels[part],
                       {layer: planes[part] for layer, planes in self.noise.items()})

    def closed(self) -> "Latents":
        """With the first after the last."""
        return Latents(*(None if each is None else torch.cat([each, each[:1]]) for each in (self.points, self.labels)),
                       {layer: torch.cat([planes, planes[:1]]) for layer, planes in self.noise.items()})

    def images(self, space: Space) -> Tensor:
        """Their images [n, C, H, W], on the CPU; bit for bit those of the latents that a file gives back."""
        return space.images(self.points.contiguous(), self.labels, self.noise)

    def digest(self) -> str:
        """SHA-256 of all tensors."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return store.digest({"points": self.points, **labels, **self.noise})

    def save(self, path: Path, space: Space) -> None:
        """Writes a safetensors file with the tensors `z`, `w` or `w_plus`, perhaps `labels`, and `noise/LAYER`."""
        about = space.generator.about
        header = Header(digest_of(space.generator), about["network"], about["images"])
        tensors = {"w_plus" if self.points.dim() == 3 else space.name: self.points,
                   **({} if self.labels is None else {"labels": self.labels}),
                   **{_NOISE + layer: planes for layer, planes in self.noise.items()}}
        with replacing(path) as unfinished:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, unfinished,
                      metadata={_KEY: json.dumps(asdict(header))})


def read(paths: Sequence[Path], space: Space, run: Path) -> Latents:
    """The latents of several files, one after the other.

    Raises:
        UserError: if one is anything else than a file that `Latents.save` wrote, or has latents of another generator
            than that of `run`.
    """
    found = [_read(path, space, run) for path in paths]
    wide = any(one.points.dim() == 3 for one in found)
    points = torch.cat([space.of_layers(one.points) if wide else one.points for one in found])
    labelled = [one.labels is not None for one in found]
    if any(labelled) and not all(labelled):
        raise UserError(f"{paths[labelled.index(False)]} has no labels, and {paths[labelled.index(True)]} has; use "
                        "files of one kind")
    noise = {}
    if any(one.noise for one in found):
        given = [one.noise or space.constant_noise(len(one)) for one in found]
        noise = {layer: torch.cat([planes[layer] for planes in given]) for layer in given[0]}
    return Latents(points, torch.cat([one.labels for one in found]) if all(labelled) else None, noise)


def _read(path: Path, space: Space, run: Path) -> Latents:
    try:
        with safe_open(regular(path), "pt") as file:
            header = parse_json((file.metadata() or {})[_KEY], f"its header {_KEY}", Header)
            tensors = {name: file.get_tensor(name) for name in file.keys()}     # noqa: SIM118 -- not a dict
        name, = tensors.keys() & {"z", "w", "w_plus"}
        noise = {key.removeprefix(_NOISE): tensor for key, tensor in tensors.items() if key.startswith(_NOISE)}
        latents = Latents(tensors[name], tensors.get("labels"), noise)
        rows = [tensor.shape[0] for tensor in tensors.values() if tensor.dim()]
        if len(rows) != len(tensors) or len(set(rows)) != 1 or not rows[0]:
            raise ValueError("its tensors differ in number")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("it has values that are not finite")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (SafetensorError, DamagedFile, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a file of latents that `scalegan project` wrote ({last_line(error)})"
                        ) from error
    if header.digest != digest_of(space.generator) or not space.fits(name, latents.points, noise):
        about = space.generator.about
        raise UserError(f"{path} has latents of other weights (network '{header.network}' at {header.images:,} images) "
                        f"than those of {run} (network '{about['network']}' at {about['images']:,} images); name "
                        "the run or export that they were found with")
    return latents
