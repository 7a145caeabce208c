"""Reads other implementations' checkpoint files without running any code in them.

`.safetensors` and torch's own files hold tensors. NVIDIA's pickles hold networks together with their classes' source
text: here they become inert records of parameters and buffers, and every other global is refused.
"""

import io
import pickle
import pickletools
import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from scalegan.errors import UserError
from scalegan.interop import remedies, rosinality

#: Keys to look for in a file with several networks, in order of preference: averaged weights first.
GENERATORS = ("G_ema", "g_ema", "ema", "params_ema", "generator_ema", "netG_ema", "G", "g", "netG", "generator", "gen",
              "state_dict", "model", "params")


class Record:
    """The state of a pickled object, as data. The object's own class is neither imported nor run."""

    state: Mapping[str, Any] = {}

    def __init__(self, *arguments: object, **keywords: object) -> None:
        """Ignores the arguments that the class was called with."""

    def __setstate__(self, state: Any) -> None:
        attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        self.state = {**(attributes or {}), **(slots or {})}

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """The state dict of the pickled module."""
        found: dict[str, Tensor] = {}
        unsaved = self.state.get("_non_persistent_buffers_set", ())
        for group in ("_parameters", "_buffers"):
            found |= {prefix + name: value.detach() for name, value in self.state.get(group, {}).items()
                      if isinstance(value, Tensor) and name not in unsaved}
        for name, module in self.state.get("_modules", {}).items():
            found |= module.tensors(f"{prefix}{name}.") if isinstance(module, Record) else {}
        return found


class PlainDict(dict):
    """NVIDIA's EasyDict: a dict whose items are also its attributes."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.update(state)


def _persistent(meta: Mapping[str, Any]) -> Record:
    """Replaces `torch_utils.persistence._reconstruct_persistent_obj`, which would run meta["module_src"]."""
    record = Record()
    record.__setstate__(meta["state"])
    return record


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _bytes(text: str, encoding: str) -> bytes:
    """Decodes bytes that were pickled for Python 2."""
    return text.encode("latin1")


def _parameter(data: Tensor, requires_grad: bool, hooks: object) -> Tensor:
    return data.detach()


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *grad_and_hooks: object) -> Tensor:
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


_ADMITTED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _bytes,
    ("builtins", "set"): set, ("__builtin__", "set"): set,
    ("dnnlib.util", "EasyDict"): PlainDict,
    ("torch", "Size"): torch.Size, ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor, ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
}


class NetworkUnpickler(pickle.Unpickler):
    """Admits only tensors, storages, plain containers, and modules as inert records."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        if module == "torch" and isinstance(found := vars(torch).get(name), torch.dtype):
            return found
        # Modules that come without source text: torch's own, and R3GAN's inner networks.
        if module.startswith("torch.nn.modules.") or module.split(".")[0] == "R3GAN":
            return type(name, (Record,), {})
        raise pickle.UnpicklingError(remedies.of_class(f"{module}.{name}"))


def read(path: Path) -> Any:
    """The file's content: tensors in nested dictionaries.

    Raises:
        UserError: if the file cannot be read, or holds anything that could run.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; for a run of ScaleGAN there is `scalegan export {path}`")
    if not path.is_file():
        raise UserError(f"{path} does not exist, or is not a file")
    readers = {".safetensors": _foreign_safetensors, ".pkl": _unpickled}
    try:
        return readers.get(path.suffix, _torch_file)(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError,
            AttributeError, IndexError, ImportError, MemoryError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint of tensors: {_reason(error)}") from error


def _foreign_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        if "scalegan" in (file.metadata() or {}):
            raise UserError(f"{path} is an export of ScaleGAN already; use it as it is")
    return load_file(path)


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        _check(file, path.stat().st_size)
        file.seek(0)
        return NetworkUnpickler(file).load()


def _check(file: BinaryIO, size: int) -> None:
    """Raises UnpicklingError for what would make the unpickler reserve memory far beyond the file's size."""
    for code, argument, _ in pickletools.genops(file):
        if code.name == "FRAME" and argument > size:
            raise pickle.UnpicklingError(f"it has a frame of {argument:,} bytes, beyond its end")
        if "PUT" in code.name and int(argument) > size:
            raise pickle.UnpicklingError(f"it numbers an object {int(argument):,}, beyond all that it can hold")


def _torch_file(path: Path) -> Any:
    with torch.serialization.safe_globals([Namespace]):     # a trainer's arguments, often saved beside its weights
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """One line of the message. torch's is a page long, and starts by advising to turn off weights_only."""
    text = str(error)
    if "Unsupported operand" in text:       # the first byte of something else, taken for a pickle's
        return ("it is not a file from torch.save; name one (.pt, .pth, .tar), a .safetensors file, or NVIDIA's .pkl")
    if isinstance(error, pickle.UnpicklingError) and "WeightsUnpickler error:" in text:
        text = text.split("WeightsUnpickler error:")[1].strip()
        refused = re.search(r"(?:GLOBAL |class |: )([\w.]+\.\w+) (?:was not|is not|that is)", text)
        text = remedies.of_class(refused[1]) if refused else text
    return (text.splitlines() or [type(error).__name__])[0].strip()


def state_dict(content: Any, key: str | None = None) -> dict[str, Tensor]:
    """The generator's tensors.

    Args:
        content: what `read` returned.
        key: key of the network, such as `G_ema` or `state_dict.netG`; its last parts may be a prefix of tensor names.

    Raises:
        UserError: if there is no such key, or no known one.
    """
    parts = key.split(".") if key else []
    while True:
        if isinstance(content, Record):
            content = content.tensors()
        if not isinstance(content, Mapping):
            raise UserError(f"found a {type(content).__name__} instead of a state dict; name another key with --key")
        nested = any(isinstance(value, Mapping | Record) for value in content.values())
        if not nested and any(isinstance(value, Tensor) for value in content.values()):
            if not all(isinstance(name, str) for name in content):
                raise UserError("found tensors with numbers instead of names; name another key with --key")
            return _below(dict(content), ".".join(parts))
        known = (name for key in GENERATORS for name in (key, f"{key}_state_dict") if name in content)
        chosen = parts.pop(0) if parts else next(known, None)
        if chosen not in content:
            missing = f"key '{chosen}'" if chosen else "known generator key"
            raise UserError(f"the file has no {missing} (its keys: {', '.join(map(str, content)) or 'none'}); "
                            "choose one with --key")
        content = with_average(content, content[chosen])


def with_average(content: Mapping[str, Any], network: Any) -> Any:
    """A generator's tensors, with the average style that lies beside them in files of rosinality's."""
    average = content.get(rosinality.AVERAGE)
    theirs = isinstance(average, Tensor) and isinstance(network, Mapping) and rosinality.is_theirs(network)
    return {**network, rosinality.AVERAGE: average} if theirs else network


def _below(tensors: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, without it."""
    if not prefix:
        return tensors
    found = {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
    if not found:
        raise UserError(f"no tensor name starts with '{prefix}.' (the first is {next(iter(tensors))}); change --key")
    return found
