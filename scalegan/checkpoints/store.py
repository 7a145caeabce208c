"""Checkpoints: safetensors through torch.distributed.checkpoint, written in the background, committed by rename.

A checkpoint is a folder named by images seen, with `*.safetensors` shards (each rank writes its part), `state.json`
(progress, recipe, versions) and, written last, `COMPLETE` with every file's size and SHA-256. Files that COMPLETE does
not list do not belong to it. Nothing is ever unpickled. An interrupted save leaves a temporary folder or one without
COMPLETE; both are ignored, and removed by the next run, which leaves all other folders alone.

Those in a run's folder are of one line of descent (`state.Lineage`); what is not is set aside under another name.
"""

import hashlib
import json
import re
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
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from scalegan.checkpoints import marker, shards
from scalegan.checkpoints.listing import STATE, complete, dangling_links, images_of, set_aside
from scalegan.checkpoints.replica_check import check_replicas
from scalegan.checkpoints.state import State
from scalegan.checkpoints.write_plan import SlicePlanner, slices_by_rank
from scalegan.engines import partitioned
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.errors import SharedError, UserError
from scalegan.support.files import sync, write_whole
from scalegan.support.reading import DamagedFile, checked, or_none, read_json

# DCP warns at every save and load about details that users cannot act on.
warnings.filterwarnings("ignore", module=r"torch\.distributed\.checkpoint.*")
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


_REPLACED = "-replaced"     # behind the name of a checkpoint that is being saved again
_FINAL, _TEMPORARY = re.compile(r"\d{12}", re.ASCII), re.compile(r"\.\d{12}-[0-9a-f]+", re.ASCII)
_OWN_FILE = re.compile(r"state\.json|[^.].*\.safetensors(\.index\.json)?|COMPLETE\.tmp")
#: Keys that are no part of a run's identity, but whose state is saved, by what its tensors' names begin with.
_WITH_STATE = {"emas/": "emas", "power_ema/": "power_ema", "game/augment.": "augment",
               "optimizer/": "the name of a player's optimizer, or whether it has momentum,"}
FORMAT = 2      # of checkpoints and exports; 1 had one stream, one averaged network, and did not state its number


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `<run>/checkpoints`.
        ranks: the processes that save together.
        keep: how many of the newest complete checkpoints to keep.
        say: prints a line for the user (on rank 0).

    Attributes:
        named: the checkpoint in this folder that `resume` names, if any, which is never deleted.
    """

    def __init__(self, folder: Path, ranks: Ranks, keep: int, say: Callable[[str], None] = print) -> None:
        self.folder, self.ranks, self.keep, self.say = folder, ranks, keep, say
        self.named: Path | None = None
        self._pending: Future | None = None
        self._saver = ThreadPoolExecutor(1, "checkpoint-saver", partial(_use, ranks.device))
        if ranks.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if _is_leftover(path):
                    shutil.rmtree(path)
            for path in folder.glob(f".*{_REPLACED}"):
                _put_back(path)

    def newest(self) -> Path | None:
        """The newest undamaged checkpoint, as rank 0 finds it. Damaged ones are skipped with a warning."""
        chosen = None
        for path in reversed(complete(self.folder)) if self.ranks.is_main else ():
            damage = verify(path)
            if damage is None:
                chosen = path
                break
            self.say(f"warning: skipping the damaged checkpoint {path}: {damage}")
            set_aside(path, "damaged")
        return self.ranks.broadcast(chosen)

    def save(self, images: int, tensors: Mapping[str, Tensor | Partitioned], metadata: Mapping[str, Any],
             wait: bool = False) -> None:
        """Starts writing a checkpoint; returns once the tensors are copied or, with `wait`, once it is complete.

        Raises:
            SharedError: on all ranks, if the previous save failed, or with `wait` this one; saving also fails if a
                replicated tensor differs on one rank.
        """
        self.finish()
        name = f"{images:012d}"
        temporary = self.folder / self.ranks.broadcast(f".{name}-{uuid.uuid4().hex}")
        if self.ranks.is_main:
            temporary.mkdir()
        self.ranks.barrier()
        held, state = _on_host(tensors), json.loads(json.dumps(metadata))   # as they are now
        if self.ranks.is_main:
            self._pending = self._saver.submit(self._commit, held, temporary, name, state)
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
        failures = [text for text in self.ranks.all_gather(error and _reason(error)) if text]
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
        held = {name: tensor for name, tensor in parts.items() if tensor.by_rows}
        if gathered := {name: tensor for name, tensor in parts.items() if name not in held}:
            whole |= partitioned.gather(gathered, group)
        dcp.save(whole, storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
                 planner=SlicePlanner(slices_by_rank(whole, self.ranks.world_size)[self.ranks.rank], held),
                 process_group=group, no_dist=group is None)

    def _commit(self, tensors: Mapping[str, Tensor | Partitioned], temporary: Path, name: str,
                state: Mapping[str, Any]) -> None:
        """Writes and commits the checkpoint: state, sync, rename, COMPLETE; only then deletes old ones."""
        final, before = self.folder / name, self.folder / f".{name}{_REPLACED}"
        try:
            self._write(tensors, temporary)
            parts = sorted(path.name for path in temporary.iterdir() if marker.is_shard(path.name))
            (temporary / STATE).write_text(json.dumps({**state, "shards": parts}, indent=1))
            files = {path: marker.fingerprint(temporary / path) for path in (*parts, STATE)}
            for path in [*temporary.iterdir(), temporary]:
                sync(path)
            if final.exists():      # it stays until the new one is complete
                final.rename(before)
            temporary.rename(final)
            sync(self.folder)
            write_whole(final / "COMPLETE", json.dumps(files, indent=1))
            sync(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if not (final / "COMPLETE").exists():
                shutil.rmtree(final, ignore_errors=True)
            if before.exists():
                _put_back(before)
            raise
        if before.exists():
            discard(before)
        self._delete_old(int(name), self._link_best(state.get("best", {})))

    def _delete_old(self, images: int, best: set[str]) -> None:
        """Deletes all but the newest checkpoints, the last good one, for a rollback, the best ones and the named one.
        What has a later name than the one just written is not of this run, and does not count."""
        whole = [path for path in complete(self.folder) if int(path.name) <= images]
        good = [path for path in whole if (or_none(lambda path=path: read_json(path / STATE)) or {}).get("good")][-1:]
        for old in whole[: -self.keep]:
            if old not in good and old.name not in best and old != self.named:
                discard(old)

    def still_there(self, best: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """The entries of `best` whose checkpoints this folder has, as it may not where a run goes back or comes from
        another folder; links to others are removed."""
        for link in [*dangling_links(self.folder)]:
            link.unlink()
        here = {int(path.name) for path in complete(self.folder)}
        return {metric: entry for metric, entry in best.items() if entry["images"] in here}

    def _link_best(self, best: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Points `best-<metric>` at the best checkpoint of each metric, and returns the names of those checkpoints."""
        names = {metric: f"{entry['images']:012d}" for metric, entry in best.items()}
        for metric, name in names.items():
            link = self.folder / f".best-{metric}"
            link.unlink(missing_ok=True)
            link.symlink_to(name)
            link.rename(self.folder / f"best-{metric}")
        return set(names.values())


def _put_back(before: Path) -> None:
    """Ends a replacement that was interrupted: the checkpoint from before goes back unless the new one is complete."""
    final = before.with_name(before.name.removeprefix(".").removesuffix(_REPLACED))
    if (final / "COMPLETE").is_file() or not (before / "COMPLETE").is_file():
        discard(before)
    elif not final.exists():
        before.rename(final)


def _is_leftover(path: Path) -> bool:
    """Whether a killed save left this folder: by its name and by what is in it. What others keep here is not ours."""
    if path.is_symlink() or not path.is_dir() or (path / "COMPLETE").exists():
        return False
    return bool(_TEMPORARY.fullmatch(path.name)
                or (_FINAL.fullmatch(path.name) and all(_OWN_FILE.fullmatch(file.name) for file in path.iterdir())))


def discard(path: Path) -> None:
    """Removes a checkpoint; if interrupted, what is left does not count as complete."""
    (path / "COMPLETE").unlink(missing_ok=True)
    shutil.rmtree(path)


def verify(path: Path) -> str | None:
    """Checks every file's size and SHA-256 against COMPLETE, the state against its schema, that tensors are whole, and
    the folder's name against the state; returns what is wrong, or None."""
    damage = marker.broken(path)
    if damage:
        return damage
    try:
        state = read_json(path / STATE)
        if _is_of_newer_format(state):
            return None     # not damaged: `metadata_of` says what to do
        checked(state, STATE, State)
        shards.contents(path)
        listed = {name for name in marker.listed(path) if marker.is_shard(name)}
    except (OSError, DamagedFile) as error:
        return str(error)
    if "shards" in state and listed != set(state["shards"]):
        return f"COMPLETE does not list the files of tensors that {STATE} names"
    named = images_of(path.name)
    if named is not None and named != state["images"]:
        return f"its name says {named:,} images, but its {STATE} {state['images']:,}: it was renamed"
    return None


def metadata_of(path: Path) -> dict[str, Any]:
    """A checkpoint's state.json, checked against `State`: progress, recipe, versions.

    Raises:
        UserError: if it cannot be read, or has a newer format than this code supports.
    """
    try:
        metadata = read_json(path / STATE)
    except OSError as error:
        raise UserError(f"cannot read {path / STATE}: {error.strerror}") from error
    check_format(path, metadata.get("format", 1))
    checked(metadata, str(path / STATE), State)
    return metadata


def _is_of_newer_format(state: Mapping[str, Any]) -> bool:
    return type(state.get("format")) is int and state["format"] > FORMAT


def check_format(path: Path, found: int) -> None:
    """Raises UserError for a checkpoint or export of a newer format than this code supports."""
    if type(found) is not int or found > FORMAT:
        raise UserError(f"{path} has format {found}, but this version of ScaleGAN reads up to {FORMAT}; upgrade it "
                        "with pip install --upgrade scalegan")


def load_into(path: Path, tensors: Mapping[str, Tensor | Partitioned]) -> None:
    """Fills tensors in place, on any number of ranks.

    Raises:
        UserError: if names, shapes or types are not exactly those of the checkpoint.
    """
    stored = shards.contents(path)
    for name in sorted(stored.keys() | tensors.keys()):
        if name not in stored or name not in tensors:
            problem = "lacks" if name in tensors else "has an unexpected"
            raise UserError(f"{path} {problem} {name}: {_why_not(name)}")
        expected, found = tensors[name], stored[name]
        if expected.shape != found.shape or expected.dtype != found.dtype:
            raise UserError(f"{path}: {name} is {list(found.shape)} {found.dtype}, but the recipe makes it "
                            f"{list(expected.shape)} {expected.dtype}")
    loaded = shards.read(stored)
    with torch.no_grad():
        for name, tensor in tensors.items():
            (tensor.fill if isinstance(tensor, Partitioned) else tensor.copy_)(loaded[name])


def _why_not(name: str) -> str:
    """Why a tensor of this name is in a checkpoint and not in a run, or the other way round."""
    for start, key in _WITH_STATE.items():
        if name.startswith(start):
            return f"{key} was another when it was saved, and cannot change within a run; set it as it was then"
    return "it belongs to another recipe"


def read(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Reads all tensors of a checkpoint whose names start with `prefix`, unpartitioned, to the CPU.

    Raises:
        UserError: if the files cannot be read.
    """
    return shards.read({name: stored for name, stored in shards.contents(path).items() if name.startswith(prefix)})


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, by sorted name."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


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
