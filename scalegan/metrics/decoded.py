"""Sets of latents as sets of images, for comparisons with samples that are decoded the same way."""

import hashlib
import threading
from collections.abc import Callable

import numpy as np
import torch

from scalegan.data.pixels import to_uint8
from scalegan.data.spec import Latents
from scalegan.metrics.images import StoredImages
from scalegan.models.autoencoder_kl import Decoder
from scalegan.support import devices
from scalegan.support.digests import digest_of


class DecodedImages(StoredImages):
    """The images that the means of latents are decoded to.

    Args:
        path: of the set of latents.
        decoder_of: gives their decoder.

    Raises:
        UserError: if the set holds no latents, or is damaged; or has no decoder.
    """

    def __init__(self, path: str, decoder_of: Callable[[Latents], Decoder]) -> None:
        super().__init__(path, "latent")
        self.latents = self.reader.manifest.image.latents
        self.decoder = decoder_of(self.latents).to(devices.available())
        self.shape = self.latents.image
        self.content = hashlib.sha256(f"{self.content} {digest_of(self.decoder)}".encode()).hexdigest()
        self.remarks = ("its images are decoded from latents, so that what the autoencoder loses does not count; name "
                        "the original images with --data or eval.data.path to count it",)
        self._decoding = threading.Lock()

    def read(self, number: int) -> np.ndarray:
        stored = torch.from_numpy(super().read(number))[:1]       # of the image itself, not its mirror image
        with self._decoding, torch.inference_mode():
            image = self.decoder(self.latents.drawn(stored).to(next(self.decoder.parameters()).device))
        return to_uint8(image)[0].permute(1, 2, 0).cpu().numpy()
