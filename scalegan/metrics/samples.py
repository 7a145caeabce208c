"""The samples of a generator, by number: sample i is the same on any rank and in any batch."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from scalegan.config.game import REAL
from scalegan.data.pixels import from_levels, to_uint8
from scalegan.data.vectors import VectorTable
from scalegan.errors import UserError
from scalegan.games.base import Preview, Sample
from scalegan.games.sampling import generate, is_styled, keyed_noise, latents
from scalegan.metrics.face_networks import Faces
from scalegan.metrics.images import Images
from scalegan.randomness import Draws

PURPOSE = "evaluate"


class Samples:
    """A generator's samples, from latents, labels and noise that are keyed on a sample's number.

    Args:
        generator: in eval mode.
        count: number of samples.
        shape: (channels, height, width) of a sample.
        labels: table of the data's labels, [N], [N, K] or vectors, from which labels are drawn; None for uniform
            classes.
        num_classes: number of classes or attributes, or length of vectors, that condition the generator; 0 for none.
        name: its name in error messages.
        fakes: the game's sampling function, if samples do not come from the generator alone.
        inputs: the input images by stream, if the game translates images.
        cycles: the game's `cycles`, if it translates there and back.
        stream: the stream that the labels belong to.
        classes: names of the classes or attributes in the generator's order; empty if unknown.
        places: by stream, the number of each sample's input in its images, int64 [N]; the sample's own if there are
            none.

    Attributes:
        faces: what the game's networks do with photos of faces, where a metric asks for that; or None.
    """

    remarks: tuple[str, ...] = ()
    faces: Faces | None = None

    def __init__(self, generator: nn.Module, count: int, shape: tuple[int, int, int],
                 labels: Tensor | VectorTable | None = None, num_classes: int = 0, psi: float = 1.0,
                 name: str = "the generator",
                 fakes: Callable[[Preview], Tensor] | None = None, inputs: Mapping[str, Images] | None = None,
                 stream: str = REAL, classes: tuple[str, ...] = (),
                 cycles: Callable[[Preview], Mapping[str, tuple[Tensor, Tensor]]] | None = None,
                 places: Mapping[str, np.ndarray] | None = None) -> None:
        self.classes, self.places = classes, places or {}
        self.fakes, self.cycles, self.inputs, self.stream = fakes, cycles, inputs or {}, stream
        self.generator, self.count, self.shape, self.name = generator, count, shape, name
        self.device = next(generator.parameters()).device
        self.label_table = labels.to(self.device) if labels is not None and num_classes else None
        self.num_classes, self.psi = num_classes, psi

    def __len__(self) -> int:
        return self.count

    @torch.inference_mode()
    def draw(self, numbers: np.ndarray) -> Tensor:
        """uint8 [n, C, H, W] on the generator's device, rounded as StyleGAN's evaluation does."""
        draws = self._draws(numbers)
        labels = self.labels(draws)
        if self.fakes:
            return to_uint8(self.fakes(self._preview(numbers, draws, labels)))
        return to_uint8(generate(self.generator, draws, labels, self.psi, "random"))

    @torch.inference_mode()
    def there_and_back(self, numbers: np.ndarray) -> Mapping[str, tuple[Tensor, Tensor]]:
        """The images of each domain with those numbers, and what both translations make of them, in [-1, 1]."""
        return self.cycles(self._preview(numbers, self._draws(numbers), None))

    def _preview(self, numbers: np.ndarray, draws: Draws, labels: Tensor | None) -> Preview:
        return Preview(draws, {self.stream: labels}, real=lambda: self.images_of(numbers), psi=self.psi, noise="random")

    def images_of(self, numbers: np.ndarray) -> dict[str, Sample]:
        """The inputs of the samples with those numbers, modulo the size of the set, of every stream."""
        found = {}
        for name, images in self.inputs.items():
            at = self.places[name][numbers] if name in self.places else numbers % len(images)
            stored = read(images, at).to(self.device)
            labels = None if images.labels is None else torch.from_numpy(images.labels[at])
            found[name] = Sample(from_levels(stored), None if labels is None else labels.to(self.device))
        return found

    def styles(self, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """What images are made from, besides noise: (w [n, num_ws, w_dim], None) for a style-based generator, else
        (z, labels)."""
        z, labels = latents(self.generator, draws), self.labels(draws)
        if self.style_based:
            return self.generator.mapping(z, labels, self.psi), None
        return z, labels

    def synthesise(self, styles: tuple[Tensor, Tensor | None], draws: Draws) -> Tensor:
        """Images [n, C, H, W]; the noise of a style-based generator is keyed like everything else."""
        if self.style_based:
            return self.generator.synthesis(styles[0], keyed_noise(self.generator, draws))
        return self.generator(*styles, psi=self.psi)

    @property
    def style_based(self) -> bool:
        return is_styled(self.generator)

    def labels(self, draws: Draws) -> Tensor | None:
        """Labels from the data's own distribution, or uniform classes if that is unknown."""
        if not self.num_classes:
            return None
        if self.label_table is None:
            return draws.integers("label", self.num_classes)
        if isinstance(self.label_table, VectorTable):
            return self.label_table.drawn(draws, "label")
        return self.label_table[draws.integers("label", len(self.label_table))]

    def classes_of(self, numbers: np.ndarray) -> np.ndarray | None:
        """Class of each sample, int64 [n], if there are classes."""
        labels = self.labels(self._draws(numbers))
        return labels.cpu().numpy() if labels is not None and labels.dim() == 1 else None

    def _draws(self, numbers: np.ndarray) -> Draws:
        return Draws(0, 0, PURPOSE, torch.from_numpy(np.asarray(numbers, np.int64)).to(self.device))


def read(images: Images, numbers: np.ndarray) -> Tensor:
    """The images with these numbers, uint8 [n, C, H, W]. Raises UserError for one that cannot be read."""
    return torch.from_numpy(np.stack([_read(images, int(number)) for number in numbers])).permute(0, 3, 1, 2)


def _read(images: Images, number: int) -> np.ndarray:
    try:
        return images.read(number)
    except (ValueError, OSError) as error:
        raise UserError(f"{images.name}: {images.file(number)} cannot be used ({error}); remove it") from error
