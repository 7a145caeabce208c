"""Encodes pictures as latents: `scalegan prepare --encoder`.

A picture is encoded alone, in fp32, so that its record depends on nothing else, and mean and standard deviation are
rounded to float16. A latent that is mirrored is not that of the mirrored picture, since encoders do not commute with
mirroring; sets that may be mirrored in training hold both.
"""

import argparse
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from scalegan.data import autoencoder_file
from scalegan.data.autoencoder_file import Autoencoder
from scalegan.data.manifest import ImageFormat
from scalegan.data.pixels import from_levels
from scalegan.data.spec import Latents
from scalegan.errors import UsageError, UserError
from scalegan.models.autoencoder_kl import Encoder, posterior
from scalegan.support import devices
from scalegan.support.digests import digest_of


@dataclass(frozen=True)
class Encoding:
    """Encodes pictures; sent to every worker, which reads the encoder for itself.

    Args:
        file: of the autoencoder.
        image: the format of the pictures.
        latents: what the encoder makes of them.
        channels, factor: of latents, and the side of pictures relative to theirs.
    """

    file: Path
    image: ImageFormat
    latents: Latents
    channels: int
    factor: int

    @property
    def stored(self) -> ImageFormat:
        """The format of the records."""
        height, width = (side // self.factor for side in self.image.sides)
        return replace(self.image, size=height, width=None if width == height else width, channels=self.channels,
                       encoding="raw", quality=None, kind="latent", depth=8, latents=self.latents)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Mean and standard deviation, float16 [views, 2, C, h, w], of a picture [H, W, C].

        Raises:
            ValueError: if they are not finite in float16.
            UserError: if the file has changed since the call began.
        """
        encoder = _encoder(self.file, self.latents.encoder)
        image = from_levels(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None])
        with torch.inference_mode():
            image = image.to(next(encoder.parameters()))
            views = [image, image.flip(-1)] if self.latents.mirrored else [image]
            found = torch.stack([torch.cat(posterior(encoder(view))) for view in views]).half()
        if not found.isfinite().all():
            raise ValueError("its latent is not finite in float16")
        return found.cpu().numpy()

    @staticmethod
    def usual_workers() -> int:
        """How many processes share the work: one on a GPU, which a picture keeps busy; 0 without, for one a core."""
        return int(torch.cuda.is_available())

    def save(self, folder: Path) -> None:
        """Puts the autoencoder beside a set's manifest, for decoding."""
        found = autoencoder_file.read(self.file)
        autoencoder_file.save(folder / autoencoder_file.FILE, found.sizes, [found.encoder, found.decoder],
                              self.latents.scale, self.latents.shift)


def encoding_of(options: argparse.Namespace, image: ImageFormat) -> Encoding:
    """What the options ask for, of pictures in a format.

    Raises:
        UserError: if the file does not fit them, or says nothing of the scale.
    """
    found = autoencoder_file.read(options.encoder)
    if found.encoder is None:
        raise UserError(f"{options.encoder} has a decoder, but no encoder; name the whole autoencoder's file")
    sizes, scale = found.sizes, options.latent_scale or found.scale
    if scale is None:
        raise UsageError(f"{options.encoder} does not say how its latents are scaled, and there is no config.json "
                         "beside it; give 1 over their standard deviation as --latent-scale (0.18215 for Stable "
                         "Diffusion 1 and 2)")
    if sizes.channels != image.channels:
        raise UserError(f"{options.encoder} encodes images with {sizes.channels} channels, and these have "
                        f"{image.channels}; set --channels {sizes.channels}")
    if any(side % sizes.factor for side in image.sides):
        raise UsageError(f"--resolution {image.resolution}: {options.encoder} needs sides that are multiples of "
                         f"{sizes.factor}")
    return Encoding(options.encoder.resolve(), image, _latents(found, image, scale, options.mirrored),
                    sizes.latent_channels, sizes.factor)


def _latents(found: Autoencoder, image: ImageFormat, scale: float, mirrored: bool) -> Latents:
    return Latents(digest_of(found.encoder), digest_of(found.decoder), image.tensor_shape, scale, found.shift,
                   mirrored)


@cache
def _encoder(file: Path, digest: str) -> Encoder:
    found = autoencoder_file.read(file).encoder
    if found is None or digest_of(found) != digest:
        raise UserError(f"{file} has changed while it was used; restore it, and run the same command to resume")
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return found.to(devices.available())
