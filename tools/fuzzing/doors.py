"""Runs a command line as a user does, and a few readers that no command line reaches without a cluster."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def call(words: list[str]) -> int:
    """Runs `scalegan WORDS`, or one of the readers below; returns the exit code. What escapes is a fault."""
    from scalegan.cli import VERBS, run_verb

    verb, *rest = words
    own = {"outcome": _outcome, "claim": _claim, "load": _load, "images": _images}.get(verb)
    return run_verb(own or import_module(VERBS[verb][0]).main, rest)


def _outcome(words: list[str]) -> int:
    """What a batch script asks at its end: whether the job is to be requeued."""
    import os

    from scalegan.cluster import job_outcome, slurm

    os.environ["SLURM_JOB_ID"] = "7"
    slurm.requeue, slurm.seconds_left = _nothing, _soon
    job_outcome.main(Path(words[0]), 1)     # returns the job's exit code
    return 0


def _nothing(job: str) -> None:
    """Does not requeue."""


def _soon(job: str) -> float:
    return 10.0


def _claim(words: list[str]) -> int:
    """What a submission does first."""
    from scalegan.cluster.records import submission_lock

    with submission_lock(Path(words[0])):
        return 0


def _load(words: list[str]) -> int:
    """Reads a recipe, and writes it."""
    from scalegan.config import loading

    loading.to_yaml(loading.load(words))
    return 0


def _images(words: list[str]) -> int:
    """Reads a set as an evaluation does, which names the images that cannot be read."""
    from scalegan.errors import UserError
    from scalegan.metrics.images import open_images

    images = open_images(words[0])
    for number in range(len(images)):
        try:
            images.read(number)
        except (ValueError, OSError) as error:
            raise UserError(f"{images.name}: {images.file(number)}: {error}") from error
    return 0


def warm() -> None:
    """Imports what the commands need, so that cases need not."""
    from scalegan.cli import VERBS

    modules: list[str] = [module for module, _ in VERBS.values()]
    modules += ["scalegan.checkpoints.exports", "scalegan.training.launch", "scalegan.metrics.evaluation",
                "scalegan.data.preparing.preparation", "scalegan.cluster.submission", "scalegan.cluster.task",
                "scalegan.interop.conversion", "scalegan.latents.interpolation", "submitit", "lmdb",
                "scalegan.metrics.extractors.efflite0", "torchvision"]
    for module in modules:
        try:
            import_module(module)
        except ImportError:
            continue
    _ffcv()


def _ffcv() -> None:
    from scalegan.data import beton_file
    from scalegan.errors import UserError

    try:
        beton_file.require()
    except UserError:
        return


Call = Callable[[list[str]], int]
