"""Reads the arrays of a pickle without running anything that it names.

NumPy's own constructors trust their arguments: arrays of objects, or a data type's own state, crash the process. Here
what a pickle says of arrays is only noted down, and becomes an array of a plain type once it is whole and checked.
"""

import io
import math
import pickle
import pickletools
import re

import numpy as np

from scalegan.errors import UserError

_PLAIN = re.compile(r"[biuf][1248]|\?")
_MOST_STEPS = 2_000_000     # of a batch of CIFAR-10 there are some 50,000
_MOST_TUPLES = 10_000       # nested, they would exhaust the stack where one is hashed
_MOST_REMEMBERED = 1 << 22  # the unpickler makes room for the highest number at once


def read_arrays(data: bytes, origin: str) -> object:
    """The pickle's content: containers, numbers, bytes, and in its outermost dictionary NumPy arrays of numbers.

    Raises:
        UserError: if it names any other class or function, or is damaged.
    """
    try:
        _check(data)
        tree = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        if isinstance(tree, dict):
            tree = {key: value.array() if isinstance(value, _Array) else value for key, value in tree.items()}
        return tree
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError,
            OverflowError, MemoryError, RecursionError) as error:
        # The unpickler may raise any of these on a damaged pickle.
        raise UserError(f"{origin} is not a pickle of arrays: {error}") from error


def _check(data: bytes) -> None:
    """Raises ValueError for what exhausts the unpickler's memory or stack."""
    tuples = 0
    for steps, (code, argument, _) in enumerate(pickletools.genops(data)):
        if steps == _MOST_STEPS:
            raise ValueError("it takes too many steps")
        tuples += "TUPLE" in code.name
        if "PUT" in code.name and int(argument) > _MOST_REMEMBERED:
            raise ValueError("it remembers too many objects")
    if tuples > _MOST_TUPLES:
        raise ValueError("it holds too many tuples")


class _Type:
    """A NumPy data type, as a pickle describes it."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        self.name, self.order = _text(name), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = _text(state[1])

    def plain(self) -> np.dtype:
        if not _PLAIN.fullmatch(self.name) or self.order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"it holds an array of type {self.name[:20]!r}, which is not a plain number")
        return np.dtype(self.name).newbyteorder(self.order)


def _text(value: object) -> str:
    """Text, which Python 2 wrote as bytes."""
    if not isinstance(value, (str, bytes)):
        raise pickle.UnpicklingError("it holds an array of no known type")
    return value.decode() if isinstance(value, bytes) else value


class _Array:
    """A NumPy array, as a pickle describes it."""

    state: object = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, kind, by_columns, content = self.state
        if not isinstance(kind, _Type) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("it holds an array that is not of plain numbers")
        whole = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
        if not whole or math.prod(shape) * kind.plain().itemsize != len(content):
            raise pickle.UnpicklingError("it holds an array whose bytes are more or fewer than its shape says")
        return np.frombuffer(content, kind.plain()).reshape(shape, order="F" if by_columns else "C")


def _reconstruct(*_: object) -> _Array:
    """In place of NumPy's, which makes an array of whatever shape and type is asked for."""
    return _Array()


def _latin1(text: str, encoding: str) -> bytes:
    """Replaces `_codecs.encode`, with which Python 3 writes bytes in protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it asks for another codec than latin1")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    """Resolves only the names in `_ALLOWED`; a pickle needs one for anything beyond plain containers."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed") from None
