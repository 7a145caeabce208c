"""Resumes a run where its recipe says: from its own newest checkpoint, or from the one that `resume=PATH` names.

PATH applies until the folder has checkpoints that descend from it; the same command then resumes from the newest of
those. While PATH applies, whatever in the folder does not lead to it is set aside: a folder's checkpoints always form
one line.
"""

import os
from pathlib import Path
from typing import Any

from scalegan.averages import power_ema
from scalegan.checkpoints import store
from scalegan.checkpoints.listing import complete, images_of, set_aside
from scalegan.checkpoints.state import Lineage
from scalegan.config import loading
from scalegan.errors import RecipeError, UserError
from scalegan.training import environment, fine_tuning
from scalegan.training.named_checkpoint import check_named
from scalegan.training.run import Run
from scalegan.training.run_folder import check_identity, forget_configs, write_config


def resume(run: Run, config: dict[str, Any], records: dict[str, Any]) -> list[str]:
    """Resumes from a checkpoint if there is one, and writes the recipe beside it. Returns lines for the user.

    Raises:
        UserError: on all ranks, if the checkpoint cannot be used.
    """
    asked, said = run.recipe.resume, []
    named = Path(asked) if asked not in ("auto", "never") else None
    path = run.checkpoints.newest()
    if asked == "never" and path is not None:
        raise RecipeError(f"resume=never, but {run.folder} holds checkpoints; choose another run_dir, or resume=auto")
    if named is not None:
        followed = run.ranks.on_main(lambda: _follows(path, named))
        if followed:
            said.append(f"resume={asked}: this run has already gone on from there, to {int(path.name):,} images; "
                        "choose another run_dir to start from there again")
        else:
            run.ranks.run_collectively(lambda: _check_named(named))
        run.checkpoints.named = _in_folder(named, run.checkpoints.folder)
        named, path = (None, path) if followed else (named, named)
    before = None
    if path is not None:
        metadata = run.ranks.run_collectively(lambda: store.metadata_of(path))
        before = loading.with_current_defaults(metadata["recipe"])
        fine_tuning.identify(run, config, before, another=named is not None)
        if named is None:
            check_identity(before, config, run.folder)
        line, images = Lineage.of(path, metadata), metadata["images"]
        run.load(path)
        said.append(f"resuming {run.folder} at {images:,} images")
        if named is not None:
            said += run.ranks.on_main(lambda: _abandon(run, path, images))
            run.saved = run.checkpoints.named is not None
            line = line.fork(images, _text(path))
        run.restore(metadata, line)
        said += [f"bits may differ because {change}" for change in
                 environment.changes(metadata["environment"], records)]
        if images >= run.recipe.total_images:
            said.append(f"total_images={run.recipe.total_images:,} is already reached: raise it to train on from "
                        f"{images:,} images")
    elif run.recipe.init_from:
        said += fine_tuning.begin(run, config)
    if run.ranks.is_main:
        changed = write_config(run.folder, config, records, run.progress.images, before)
        said += [f"changed since that checkpoint: {key}" for key in changed]
    return said


def _text(path: Path) -> str:
    """The path as given, made absolute; links are kept, as they may lead elsewhere later."""
    return os.path.abspath(path)


def _check_named(path: Path) -> None:
    """Raises UserError for anything but an undamaged checkpoint."""
    check_named(path)
    damage = store.verify(path)
    if damage:
        raise UserError(f"resume={path}: {damage}; name another checkpoint")


def _follows(newest: Path | None, named: Path) -> bool:
    """Whether the folder's newest checkpoint descends from the named one because that was named before."""
    if newest is None:
        return False
    line = Lineage.of(newest, store.metadata_of(newest))
    if (named.is_symlink() or not named.exists()) and line.resumed(_text(named)):
        return True     # a link to the best checkpoint moves on, and a checkpoint that is gone is no longer needed
    try:
        state = store.metadata_of(named)
    except UserError:
        return False
    return line.follows(Lineage.of(named, state), state["images"])


def _abandon(run: Run, named: Path, images: int) -> list[str]:
    """Sets aside what does not lead to the named checkpoint, which is at `images`; returns lines for the user."""
    from scalegan.metrics import results  # not imported by runs without evaluations

    folder = run.checkpoints.folder
    line = Lineage.of(named, store.metadata_of(named))
    beside = named.resolve().parent == folder.resolve()
    gone = [path for path in complete(folder) if path != run.checkpoints.named
            and not _leads_to(path, line, images, beside)]
    names = [set_aside(path, "abandoned").name for path in gone]
    # If nothing in the folder leads to it, none of the folder's records belong to this line.
    shared = images if complete(folder) else -1
    run.rollbacks.remove_after(shared)
    results.remove_after(run.folder, shared)
    power_ema.remove_after(run.folder, shared)
    forget_configs(run.folder, images)
    if not names:
        return []
    return [f"set aside what does not lead to {named}: {', '.join(names)}; delete it if you do not need it"]


def _leads_to(path: Path, line: Lineage, images: int, beside: bool) -> bool:
    """Whether a checkpoint of the folder is an ancestor of the one that `line` has at `images`. One that does
    not record its line counts as an ancestor if it is earlier and the named one is in the same folder."""
    try:
        state = store.metadata_of(path)
    except UserError:
        return False
    if state["images"] > images or state["images"] != images_of(path.name):
        return False
    if not state.get("branch") and beside:
        return state["images"] < images
    return line.passes(Lineage.of(path, state), state["images"])


def _in_folder(named: Path, folder: Path) -> Path | None:
    """The named checkpoint as one of the folder's own, links resolved; None if it is elsewhere, or set aside."""
    place = named.resolve()
    inside = place.parent == folder.resolve() and images_of(place.name) is not None
    return folder / place.name if inside else None
