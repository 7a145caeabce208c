"""A rank's memory and traffic as they are: bytes of storages at every operation, and what collectives are given."""

import gc
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def storages() -> dict[int, torch.UntypedStorage]:
    """Those of all tensors that Python knows, by address."""
    gc.collect()
    found = (tensor.untyped_storage() for tensor in gc.get_objects() if type(tensor) in (Tensor, torch.nn.Parameter))
    return {storage._cdata: storage for storage in found}


class Gauge(TorchDispatchMode):
    """Unlike `costs.Meter`, it counts what was there before, and storages that are emptied and refilled, as FSDP2's.

    Attributes:
        peak: most bytes at the end of an operation.
        sent: bytes that this rank sends, by ring algorithms.
    """

    def __init__(self, ranks: int) -> None:
        super().__init__()
        self.ranks, self.sent, self._alive = ranks, 0.0, 0
        known = storages().values()
        self._refilled = [storage for storage in known if storage.nbytes() == 0]
        self._known = {storage._cdata for storage in self._refilled}
        for storage in known:
            self._add(storage)
        self.peak = self._alive

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter((args, result)):
            if type(tensor) in (Tensor, torch.nn.Parameter):
                self._add(tensor.untyped_storage())
        self.peak = max(self.peak, self._alive + sum(storage.nbytes() for storage in self._refilled))
        if function.namespace == "c10d":
            self._count(function._opname, args)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._alive += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._alive -= size

    def _count(self, name: str, args: Any) -> None:
        given, taken = (sum(t.nbytes for t in tree_iter(a) if isinstance(t, Tensor)) for a in args[:2])
        share = (self.ranks - 1) / self.ranks
        self.sent += {"allreduce_": 2 * share * given, "broadcast_": share * given}.get(
            name, taken * (self.ranks - 1 if "gather" in name else share))
