"""Embeds faces so that the distance of two tells whether they are one person's."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from scalegan.errors import UserError
from scalegan.faces import resnet
from scalegan.faces.alignment import similarity, warped
from scalegan.faces.weights import packaged
from scalegan.support.reading import read_bytes

NAME = "dlib-resnet-v1"
ONE_PERSON = 0.6        # dlib takes faces for one person's up to this distance
# In chips of 150 px, cut as for training: means of dlib's 68 mean landmarks over each eye, its tip of the nose and its
# corners of the mouth, with a quarter of the face around it.
LANDMARKS = np.array([[47.55, 46.60], [100.48, 46.60], [74.01, 76.56], [50.41, 103.02], [97.61, 103.02]])
_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
_AT_ONCE = 64


class Embedding:
    """128 numbers for each face, by the network that comes inside face_recognition_models (King, 2017; public domain).

    It equals dlib's own `face_recognition_model_v1` to six digits.

    Attributes:
        identity: its name, and the hash of its weights.

    Raises:
        UserError: if the package is missing, or its file is not these weights.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        path, self.device = packaged("face_recognition_models", _FILE), torch.device(device)
        data = read_bytes(path)
        try:
            self.network = resnet.read(data).to(self.device)
        except ValueError as error:
            raise UserError(f"{path} does not hold the weights of dlib's face recognition ({error}); install "
                            "face_recognition_models again") from error
        self.identity = {"name": NAME, "sha256": hashlib.sha256(data).hexdigest()}

    @torch.inference_mode()
    def __call__(self, images: Tensor, landmarks: np.ndarray) -> Tensor:
        """float32 [n, 128] on the CPU, of images uint8 [n, 3 or 1, H, W]; an image's does not depend on the others.

        Args:
            landmarks: a face's in each image, [n, 5, 2], as `scalegan.faces.detection` gives them; or of all, [5, 2]. A
                photo and what is made of it have the photo's.
        """
        chips = np.stack([warped(pixels, similarity(points, LANDMARKS), (resnet.SIDE, resnet.SIDE))
                          for pixels, points in zip(images.movedim(1, 3).cpu().numpy(),
                                                    np.broadcast_to(landmarks, (len(images), 5, 2)))])
        stacked = torch.from_numpy(chips).movedim(3, 1).expand(-1, 3, -1, -1)
        size = 1 if self.device.type == "cpu" else _AT_ONCE     # on CPUs, the last bits depend on the size of a batch
        return torch.cat([self.network(part.to(self.device)).cpu() for part in stacked.split(size)])
