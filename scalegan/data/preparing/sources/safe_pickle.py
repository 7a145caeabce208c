"""Reads the arrays of a pickle without running anything that it names."""

import io
import pickle

import numpy as np
from numpy._core.multiarray import _reconstruct

from scalegan.errors import UserError


def read_arrays(data: bytes, origin: str) -> object:
    """The pickle's content: containers, numbers, bytes and NumPy arrays.

    Raises:
        UserError: if it names any other class or function, or is damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError,
            OverflowError, MemoryError) as error:
        # The unpickler may raise any of these on a damaged pickle.
        raise UserError(f"{origin} is not a pickle of arrays: {error}") from error


def _latin1(text: str, encoding: str) -> bytes:
    """Replaces `_codecs.encode`, with which Python 3 writes bytes in protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    """Resolves only the names in `_ALLOWED`; a pickle needs one for anything beyond plain containers."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed") from None
