"""Images in NumPy's .npy files."""

import io

import numpy as np

NPY = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(data: bytes) -> np.ndarray:
    """uint8 or uint16 [H, W, C] of a .npy file with [H, W] or [H, W, C]. Raises ValueError if it holds anything else.

    Pickles are never read.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"it has version {version} of NumPy's format; save it with numpy.save")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise ValueError(f"its numbers are {dtype}, not uint8 or uint16; scale them to one of these first")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"its shape is {list(shape)}, not [H, W] or [H, W, channels]"
                         + "; --kind volumes takes voxels" * (len(shape) > 3))
    pixels = np.load(io.BytesIO(data), allow_pickle=False)
    return pixels.astype(dtype.newbyteorder("=")).reshape(*shape[:2], -1)
