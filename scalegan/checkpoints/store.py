"""Checkpoints: safetensors through torch.distributed.checkpoint, written in the background, committed by rename.

A checkpoint is a folder named by images seen, with `*.safetensors` shards (each rank writes its part), `state.json`
(progress, recipe, versions) and, written last, `COMPLETE` with every file's size and SHA-256. Nothing is ever
unpickled. An interrupted save leaves a temporary folder or one without COMPLETE; both are ignored, and removed by the
next run.
"""

import hashlib
import json
import shutil
import uuid
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from scalegan.checkpoints.replica_check import check_replicas
from scalegan.checkpoints.write_plan import SlicePlanner, slices_by_rank
from scalegan.engines import partitioned
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.errors import SharedError, UserError
from scalegan.support.files import sync, write_whole

# DCP warns at every save and load about details that users cannot act on.
warnings.filterwarnings("ignore", module=r"torch\.distributed\.checkpoint.*")
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


FORMAT = 2      # of checkpoints and exports; 1 had one stream, one averaged network, and did not state its number


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `<run>/checkpoints`.
        ranks: the processes that save together.
        keep: how many of the newest complete checkpoints to keep.
        say: prints a line for the user (on rank 0).
    """

    def __init__(self, folder: Path, ranks: Ranks, keep: int, say: Callable[[str], None] = print) -> None:
        self.folder, self.ranks, self.keep, self.say = folder, ranks, keep, say
        self._pending: Future | None = None
        self._saver = ThreadPoolExecutor(1, "checkpoint-saver", partial(_use, ranks.device))
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink() and not (path / "COMPLETE").is_file():
                    shutil.rmtree(path)

    def newest(self) -> Path | None:
        """The newest undamaged checkpoint, as rank 0 finds it. Damaged ones are skipped with a warning."""
        chosen = None
        for path in reversed(complete(self.folder)) if self.ranks.first else ():
            damage = verify(path)
            if damage is None:
                chosen = path
                break
            self.say(f"warning: skipping the damaged checkpoint {path}: {damage}")
            path.rename(path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:6]}"))
        return self.ranks.share(chosen)

    def save(self, images: int, tensors: Mapping[str, Tensor | Partitioned], metadata: Mapping[str, Any],
             wait: bool = False) -> None:
        """Starts writing a checkpoint; returns once the tensors are copied or, with `wait`, once it is complete.

        Raises:
            SharedError: on all ranks, if the previous save failed, or with `wait` this one; saving also fails if a
                replicated tensor differs on one rank.
        """
        self.finish()
        name = f"{images:012d}"
        temporary = self.folder / self.ranks.share(f".{name}-{uuid.uuid4().hex}")
        if self.ranks.first:
            temporary.mkdir()
        self.ranks.wait()
        held = _on_host(tensors)
        if self.ranks.first:
            self._pending = self._saver.submit(self._commit, held, temporary, name, json.dumps(metadata, indent=1))
        else:
            self._pending = self._saver.submit(self._write, held, temporary)
        if wait:
            self.finish()

    def finish(self) -> None:
        """Waits for the save in flight. Raises SharedError on every rank if it failed on any."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        error = pending.exception()
        failures = [text for text in self.ranks.gather(error and _reason(error)) if text]
        if failures:
            whole = complete(self.folder)
            raise SharedError(f"a checkpoint could not be written to {self.folder}: {failures[0]}; "
                            + (f"{whole[-1].name} is intact" if whole else "there is no earlier one")
                            + ". Fix this and run the same command again")

    def _write(self, tensors: Mapping[str, Tensor | Partitioned], temporary: Path) -> None:
        """Writes this rank's share of the tensors, after checking that replicas are equal; runs on all ranks."""
        group = self.ranks.saver
        parts = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Partitioned)}
        whole = {name: tensor for name, tensor in tensors.items() if name not in parts}
        check_replicas(whole, group)
        whole |= partitioned.gather(parts, group)
        dcp.save(whole, storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
                 planner=SlicePlanner(slices_by_rank(whole, self.ranks.world)[self.ranks.rank]), process_group=group,
                 no_dist=group is None)

    def _commit(self, tensors: Mapping[str, Tensor | Partitioned], temporary: Path, name: str, metadata: str) -> None:
        """Writes and commits the checkpoint: state, sync, rename, COMPLETE; only then deletes old ones."""
        final = self.folder / name
        try:
            self._write(tensors, temporary)
            (temporary / "state.json").write_text(metadata)
            files = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
            for path in [*temporary.iterdir(), temporary]:
                sync(path)
            if final.exists():
                discard(final)
            temporary.rename(final)
            sync(self.folder)
            write_whole(final / "COMPLETE", json.dumps(files, indent=1))
            sync(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if not (final / "COMPLETE").exists():
                shutil.rmtree(final, ignore_errors=True)
            raise
        whole = complete(self.folder)
        good = [path for path in whole if metadata_of(path).get("good")][-1:]  # kept for a rollback
        best = self._link_best(json.loads(metadata).get("best", {}))
        for old in whole[: -self.keep]:
            if old not in good and old.name not in best:
                discard(old)

    def _link_best(self, best: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Points `best-<metric>` at the best checkpoint of each metric, and returns the names of those checkpoints."""
        names = {metric: f"{entry['images']:012d}" for metric, entry in best.items()}
        for metric, name in names.items():
            link = self.folder / f".best-{metric}"
            link.unlink(missing_ok=True)
            link.symlink_to(name)
            link.rename(self.folder / f"best-{metric}")
        return set(names.values())


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.isdigit() and (p / "COMPLETE").is_file())


def discard(path: Path) -> None:
    """Removes a checkpoint; if interrupted, what is left does not count as complete."""
    (path / "COMPLETE").unlink(missing_ok=True)
    shutil.rmtree(path)


def verify(path: Path) -> str | None:
    """Checks every file's size and SHA-256 against COMPLETE; returns what is wrong, or None."""
    try:
        files = json.loads((path / "COMPLETE").read_text())
        for name, expected in files.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if _fingerprint(path / name) != expected:
                return f"{name} has changed since it was written"
        if "state.json" not in files:
            return "COMPLETE does not list state.json"
    except (OSError, ValueError, AttributeError) as error:
        return f"COMPLETE cannot be read: {error}"
    return None


def metadata_of(path: Path) -> dict[str, Any]:
    """A checkpoint's state.json: progress, recipe, versions.

    Raises:
        UserError: if it cannot be read, or has a newer format than this code supports.
    """
    try:
        metadata = json.loads((path / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path / 'state.json'}: {error}") from error
    check_format(path, metadata.get("format", 1))
    return metadata


def check_format(path: Path, found: int) -> None:
    """Raises UserError for a checkpoint or export of a newer format than this code supports."""
    if not isinstance(found, int) or found > FORMAT:
        raise UserError(f"{path} has format {found}, but this version of ScaleGAN reads up to {FORMAT}; upgrade it "
                        "with pip install --upgrade scalegan")


def load_into(path: Path, tensors: Mapping[str, Tensor | Partitioned]) -> None:
    """Fills tensors in place, on any number of ranks.

    Raises:
        UserError: if names, shapes or types are not exactly those of the checkpoint.
    """
    stored = _stored(path)
    for name in sorted(stored.keys() | tensors.keys()):
        if name not in stored or name not in tensors:
            problem = "lacks" if name in tensors else "has an unexpected"
            raise UserError(f"{path} {problem} {name}: it belongs to another recipe")
        expected, found = tensors[name], stored[name]
        if expected.shape != found.shape or expected.dtype != found.dtype:
            raise UserError(f"{path}: {name} is {list(found.shape)} {found.dtype}, but the recipe makes it "
                            f"{list(expected.shape)} {expected.dtype}")
    _load(path, stored)
    with torch.no_grad():
        for name, tensor in tensors.items():
            (tensor.fill if isinstance(tensor, Partitioned) else tensor.copy_)(stored[name])


def read(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Reads all tensors of a checkpoint whose names start with `prefix`, unpartitioned, to the CPU.

    Raises:
        UserError: if the files cannot be read.
    """
    tensors = {name: tensor for name, tensor in _stored(path).items() if name.startswith(prefix)}
    _load(path, tensors)
    return tensors


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, by sorted name."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _stored(path: Path) -> dict[str, Tensor]:
    """Empty tensors with the names, shapes and types stored in the shards."""
    try:
        metadata = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"cannot read the shards of {path}: {_reason(error)}") from error
    return {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in metadata.items()}


def _use(device: torch.device) -> None:
    """Makes a GPU the current device of this thread. Each starts on GPU 0, on which DCP's streams would take memory."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def _on_host(tensors: Mapping[str, Tensor | Partitioned]) -> dict[str, Tensor | Partitioned]:
    """Contiguous copies in host memory; waits once for all copies from a GPU."""
    held = {name: tensor.to_host() if isinstance(tensor, Partitioned) else partitioned.to_host(tensor)
            for name, tensor in tensors.items()}
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return held


def _load(path: Path, tensors: dict[str, Tensor]) -> None:
    dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=True)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line."""
    failures = getattr(error, "failures", None)  # DCP's CheckpointException: by rank, (exception, stack)
    if failures:
        rank, failure = next(iter(failures.items()))
        return f"rank {rank}: {_reason(failure[0])}"
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return "the disk is full (No space left on device)" if "No space left" in text or "os error 28" in text else text
