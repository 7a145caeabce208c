"""A photo of a face that comes inside a package: Grace Hopper's, of the US Navy, in the public domain."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def face_photo() -> np.ndarray:
    """uint8 [600, 512, 3]; skips the test without the packages for faces, or matplotlib."""
    for package in ("facenet_pytorch", "face_recognition_models", "dlib", "matplotlib"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'scalegan[all]'")
    folder = find_spec("matplotlib").submodule_search_locations[0]
    return np.array(Image.open(Path(folder, "mpl-data/sample_data/grace_hopper.jpg")).convert("RGB"))
