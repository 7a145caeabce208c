"""`resume=PATH`: what to name instead if PATH is not a checkpoint."""

from pathlib import Path

from scalegan.checkpoints import store
from scalegan.errors import RecipeError


def check_named(path: Path) -> None:
    """Raises RecipeError if a path is not a complete checkpoint, with what to name instead."""
    if not path.exists():
        raise RecipeError(f"resume={path} does not exist; name a checkpoint, such as RUN/checkpoints/000000064000")
    if path.is_file():
        raise RecipeError(f"resume={path} is a file; exports and other weights lack the optimizers' state, so a run "
                          "cannot resume from them; name a checkpoint, such as RUN/checkpoints/000000064000")
    whole = store.complete(path / "checkpoints")
    if whole:
        raise RecipeError(f"resume={path} is a run folder; name one of its checkpoints, such as {whole[-1]}")
    if not (path / "COMPLETE").is_file():
        raise RecipeError(f"resume={path} is not a complete checkpoint: it has no file COMPLETE; name another")
