"""Trackers of experiments beside TensorBoard: Weights & Biases, MLflow and Trackio, through Accelerate's tracking API.

What is particular to each is here: where it keeps a run, how it finds the run again, how it takes pictures. When they
are called, and what happens if they fail, is in `tracking`.
"""

import os
import re
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from scalegan.config import Recipe
from scalegan.errors import RecipeError

_PROJECT = "scalegan"
_CONNECT, _FINISH = 15, 15      # seconds that Weights & Biases may take to connect, and to send the rest at the end


class Tracker(Protocol):
    """One tracked run. Every method may raise anything, and may wait for a network."""

    def start(self, known: str | None, config: Mapping[str, Any]) -> str:
        """Begins a run or goes on with the `known` one; returns its identity."""

    def figures(self, images: int, figures: Mapping[str, float]) -> None: ...

    def picture(self, images: int, path: Path) -> None: ...

    def finish(self) -> None: ...


def check_installed(recipe: Recipe) -> None:
    """Raises RecipeError if the recipe names a tracker whose package is missing."""
    for name in recipe.log.trackers:
        if name in TRACKERS and find_spec(name) is None:
            raise RecipeError(f"log.trackers: {name} is not installed; pip install 'scalegan[{name}]', or leave it out")


class WandB:
    """Weights & Biases: WANDB_MODE, WANDB_PROJECT, WANDB_NAME, WANDB_DIR and its other variables have their effect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, known: str | None, config: Mapping[str, Any]) -> str:
        import wandb
        from accelerate.tracking import WandBTracker

        # Its console capture would wrap the terminal that the progress bar draws on.
        settings = wandb.Settings(console="off", silent=True, init_timeout=_CONNECT, finish_timeout=_FINISH)
        identity = known or uuid.uuid4().hex[:12]
        self.run = WandBTracker(os.environ.get("WANDB_PROJECT", _PROJECT), id=identity, resume="allow",
                                name=os.environ.get("WANDB_NAME", self.folder.resolve().name),
                                dir=os.environ.get("WANDB_DIR", str(self.folder)), settings=settings)
        self.run.start()
        self.run.tracker.define_metric("*", step_metric="images")
        self.run.store_init_configuration(dict(config))
        return identity

    def figures(self, images: int, figures: Mapping[str, float]) -> None:
        self.run.log({"images": images, **figures}, step=self._step(images))

    def picture(self, images: int, path: Path) -> None:
        with Image.open(path, formats=("PNG",)) as image:
            self.run.log_images({"samples": [image.convert("RGB")]}, step=self._step(images))

    def finish(self) -> None:
        self.run.finish()

    def _step(self, images: int) -> int:
        """Its steps may not go back, or the row is dropped, as an evaluation made up for after a resume would be."""
        return max(images, self.run.tracker.step)


class MLflow:
    """MLflow, at MLFLOW_TRACKING_URI; MLFLOW_EXPERIMENT_NAME and its other variables have their effect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, known: str | None, config: Mapping[str, Any]) -> str:
        if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")    # else MLflow 3 refuses what the user named
        from accelerate.tracking import MLflowTracker

        self.run = MLflowTracker(_PROJECT, run_id=known, run_name=self.folder.resolve().name)
        self.run.start()
        if known is None:       # its parameters cannot change
            self.run.store_init_configuration(dict(config))
        return self.run.tracker.info.run_id

    def figures(self, images: int, figures: Mapping[str, float]) -> None:
        self.run.log({re.sub(r"[^\w\-. /]", "_", name): float(value) for name, value in figures.items()}, step=images)

    def picture(self, images: int, path: Path) -> None:
        self.run.log_artifact(str(path), "samples")

    def finish(self) -> None:
        self.run.finish()


class Trackio:
    """Trackio: in TRACKIO_DIR on this machine, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, known: str | None, config: Mapping[str, Any]) -> str:
        from accelerate.tracking import TrackioTracker

        # It finds a run by its name, and run folders of several places may share theirs.
        identity = known or f"{self.folder.resolve().name}-{uuid.uuid4().hex[:8]}"
        self.run = TrackioTracker(_PROJECT, name=identity, resume="allow", config=dict(config))
        self.run.start()
        return identity

    def figures(self, images: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=images)

    def picture(self, images: int, path: Path) -> None:
        import trackio

        with Image.open(path, formats=("PNG",)) as image:
            self.run.log({"samples": trackio.Image(image.convert("RGB"))}, step=images)

    def finish(self) -> None:
        self.run.finish()


TRACKERS: dict[str, type[Tracker]] = {"wandb": WandB, "mlflow": MLflow, "trackio": Trackio}
