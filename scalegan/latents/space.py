"""The space in which samples of a generator are moved: w of style-based generators, z of all others."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.averages.label_summary import drawn, with_attributes
from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.games.sampling import is_styled, latents, most_at_once, style_of
from scalegan.randomness import Draws

Noise = Mapping[str, Tensor]

_BATCH = 32
_DRAWN_AT_ONCE = 1024
_NO_NOISE: Noise = MappingProxyType({})


class Space:
    """Points are rows [n, dim]; all methods work on the generator's device.

    Args:
        generator: in eval mode.
        psi: truncation of the points, if the model supports it.

    Attributes:
        name: "w" for style-based generators, else "z".
        gaussian: how many of the first coordinates are normally distributed around 0.
        shape: of an image, (C, H, W); None for a generator that `scalegan.load` did not make.
        bounded: whether all coordinates are between -1 and 1.
    """

    def __init__(self, generator: nn.Module, psi: float = 1.0) -> None:
        self.generator, self.psi, self.styled = generator, psi, is_styled(generator)
        self.name = "w" if self.styled else "z"
        self.device = next(generator.parameters()).device
        whole = generator.latent_dim if generator.latent == "normal" else 0
        self.gaussian = 0 if self.styled else getattr(generator.latent, "gaussian", whole)
        self.shape = tuple(generator.about["spec"]["shape"]) if hasattr(generator, "about") else None
        self.bounded = not self.styled and generator.latent == "uniform"
        self.dim = generator.synthesis.w_dim if self.styled else generator.latent_dim

    @torch.no_grad()
    def points(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        """The points [n, dim] of samples with these draws and labels.

        Raises:
            ValueError: if the model has no such truncation.
        """
        z = latents(self.generator, draws.to(self.device))
        if self.styled:
            return self.generator.mapping(z, self._on_device(labels), self.psi)[:, 0]
        # Truncating z after it was moved would throw it back.
        return self.generator.truncated(z, self.psi) if self._truncates() else z

    def of_seeds(self, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        """The points of the samples that `scalegan sample` draws for these seeds."""
        return self.points(Draws(0, 0, "sample", torch.tensor(seeds)), labels)

    def drawn(self, count: int, purpose: str) -> tuple[Tensor, Tensor | None]:
        """`count` random points, and the labels that they were drawn with, distributed like the data's."""
        stored, spec, parts = self.generator.about.get("labels"), Spec.of(self.generator.about["spec"]), []
        for first in range(0, count, _DRAWN_AT_ONCE):
            places = range(first, min(first + _DRAWN_AT_ONCE, count))
            draws = Draws(0, 0, purpose, torch.tensor(places))
            labels = with_attributes(stored, spec, places, []) if spec.multilabel else drawn(stored, spec, draws)
            parts.append((self.points(draws, labels), labels))
        points, labels = zip(*parts)
        return torch.cat(points), None if labels[0] is None else torch.cat(labels)

    @torch.no_grad()
    def images(self, points: Tensor, labels: Tensor | None = None, noise: Noise = _NO_NOISE) -> Tensor:
        """Images [n, C, H, W] of points, on the CPU.

        Args:
            points: [n, dim]; or [n, num_ws, w_dim], a w for each layer of a style-based generator.
            labels: of each point, classes [n] or attributes [n, K].
            noise: of a style-based generator, by layer, [n, 1, H, W]; its constant noise if empty.
        """
        size, made = min(_BATCH, most_at_once(self.generator)), []
        for first in range(0, len(points), size):
            part = slice(first, first + size)
            given = None if labels is None else labels[part]
            planes = {layer: each[part].to(self.device) for layer, each in noise.items()}
            made.append(self.made(points[part].to(self.device), self._on_device(given), planes).cpu())
        return torch.cat(made)

    def made(self, points: Tensor, labels: Tensor | None, noise: Noise = _NO_NOISE) -> Tensor:
        """The same on the generator's device, all at once and with gradients."""
        if self.styled:
            return self.generator.synthesis(self.of_layers(points), (lambda layer, shape: noise[layer]) if noise else
                                            "const")
        return self.generator(points, labels, **self._truncation())

    def of_layers(self, points: Tensor) -> Tensor:
        """A w for each layer, [n, num_ws, w_dim], of points of a style-based generator."""
        return points if points.dim() == 3 else points[:, None].expand(-1, self.generator.num_ws, -1)

    def constant_noise(self, count: int) -> Noise:
        """The constant noise of a style-based generator, by layer, [count, 1, H, W]."""
        layers = {layer.name: layer.noise_const for layer in self.generator.synthesis.modules()
                  if hasattr(layer, "noise_const")}
        return {name: plane.expand(count, 1, *plane.shape).cpu() for name, plane in layers.items()}

    def fits(self, name: str, points: Tensor, noise: Noise) -> bool:
        """Whether stored latents are of this space: `z`, `w` or `w_plus`, with noise for all layers or for none."""
        shapes = {self.name: (self.dim,), **({"w_plus": (self.generator.num_ws, self.dim)} if self.styled else {})}
        known = self.constant_noise(len(points)) if noise and self.styled else {}
        found, wanted = ({layer: plane.shape for layer, plane in planes.items()} for planes in (noise, known))
        return tuple(points.shape[1:]) == shapes.get(name) and found == wanted

    def unit(self) -> Tensor:
        """What steps are measured in, [dim]: 1 in z, which has its own scale; the standard deviations of w."""
        return self.drawn(1000, "spread")[0].std(0) if self.styled else torch.ones(self.dim, device=self.device)

    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        """The point a share of the way from a to b, [dim] each: along a great circle where coordinates are normal
        (White, 2016), along a straight line for others."""
        k = self.gaussian
        if not k:
            return torch.lerp(a, b, share)
        return torch.cat([slerp(a[:k], b[:k], share), torch.lerp(a[k:], b[k:], share)])

    def _truncation(self) -> dict[str, Any]:
        return {} if self._truncates() else style_of(self.generator, self.psi)

    def _truncates(self) -> bool:
        return hasattr(self.generator, "truncated")

    def _on_device(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self.device)


def check_images(generator: nn.Module, path: object) -> None:
    """Raises UserError if a loaded generator's samples are not images."""
    kind = generator.about["spec"]["kind"]
    if kind == "volume":
        raise UserError(f"{path} makes volumes, not images; `scalegan sample {path}` gives them as pictures and meshes")
    if kind == "points":
        raise UserError(f"{path} makes 2-D points, not images")


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Interpolates from a to b, vectors of equal length, along a great circle, which preserves that length (Shoemake,
    1985)."""
    cosine = (a @ b) / (a.norm() * b.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-6:
        return a.lerp(b, share)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
