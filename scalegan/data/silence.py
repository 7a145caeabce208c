"""Keeps image decoders from writing to stderr: a damaged picture is reported once, by whoever reads it."""

import contextlib
import ctypes
import logging
import warnings

from PIL import _imaging


def silence_decoders() -> None:
    """Turns off libtiff's messages, of which one set can bring thousands, and Pillow's and tifffile's of the same."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    for name in ("PIL", "tifffile"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    with contextlib.suppress(OSError, AttributeError):      # a Pillow without libtiff
        library = ctypes.CDLL(_imaging.__file__)            # finds the symbols of libraries it is linked with, too
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)
