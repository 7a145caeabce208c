"""A run: its parts, and the state that is saved."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scalegan.averages import power_ema
from scalegan.averages.averages import Averages
from scalegan.averages.standing_statistics import has_norms, renew
from scalegan.checkpoints import store
from scalegan.checkpoints.state import Lineage
from scalegan.checkpoints.store import Checkpoints
from scalegan.config import Recipe
from scalegan.data.reading.streams import Streams
from scalegan.data.spec import Spec
from scalegan.engines.base import Engine
from scalegan.engines.partitioned import Partitioned
from scalegan.engines.ranks import Ranks
from scalegan.errors import UserError
from scalegan.games.base import Game
from scalegan.training.batch_loader import BatchLoader
from scalegan.training.rollback import Rollbacks, finite
from scalegan.training.run_lock import RunLock
from scalegan.training.run_log import Means
from scalegan.training.update_trace import UpdateTrace
from scalegan.training.utilisation import Utilisation, data_sheet_flops, peak_flops


@dataclass
class Progress:
    """How far a run has come. Together with the tensors, this is its whole state."""

    images: int = 0
    iterations: int = 0
    updates: dict[str, int] = field(default_factory=dict)
    attempt: int = 0


@dataclass
class Run:
    """The parts of a run, and the state that is saved."""

    recipe: Recipe
    folder: Path
    ranks: Ranks
    game: Game
    optimizers: Mapping[str, torch.optim.Optimizer]
    engine: Engine
    averages: Averages
    loader: BatchLoader
    open_streams: Callable[[int], Streams]
    checkpoints: Checkpoints
    constants: dict[str, Any]
    draw_samples: Callable[[Mapping[str, nn.Module], Path], Tensor]  # draws the game's exports
    lock: RunLock | None  # of the folder, on rank 0
    schedule: Callable[[int, float], None] = lambda images, lr_factor: None  # applies schedules over images seen
    progress: Progress = field(default_factory=Progress)
    means: Means = field(default_factory=Means)
    begun: float = field(default_factory=time.monotonic)  # minus the seconds before the last resume
    evaluate: Any = None  # metrics.in_training.InTraining if the recipe evaluates, and only then imported
    best: dict[str, dict[str, Any]] = field(default_factory=dict)  # by metric: its best value, and at how many images
    evaluation_due: bool = False  # at the checkpoint it resumed from, which is saved before it is evaluated
    good: bool = False  # whether that checkpoint is a target for rollbacks
    saved: bool = True  # whether the checkpoint it resumed from, if any, is in this run's folder
    line: Lineage = field(default_factory=Lineage.new)  # of descent, of the checkpoints that it writes
    phase: str = "start"  # what the run is doing, reported when a rank dies
    rollbacks: Rollbacks = field(init=False)
    utilisation: Utilisation = field(init=False)
    trace: UpdateTrace = field(init=False)

    def __post_init__(self) -> None:
        self.rollbacks = Rollbacks(self.folder, self.ranks, self.checkpoints, self.recipe.health)
        updates = self.recipe.log.profile_updates
        self.utilisation = Utilisation(*self._peaks() if updates else [None])
        self.trace = UpdateTrace(self.folder, updates if self.ranks.is_main else 0)

    def _peaks(self) -> tuple[float, float | None]:
        device, precision = self.ranks.device, self.engine.precision
        return peak_flops(device, precision), data_sheet_flops(device, precision)

    def tensors(self) -> dict[str, Tensor | Partitioned]:
        """Every tensor of the run's state, by name; the same names, shapes and types with every engine."""
        return self.engine.tensors() | self.averages.tensors() | self.engine.optimizer_state()

    def whole_networks(self) -> contextlib.AbstractContextManager[None]:
        """A context in which every rank has all weights of what is exported. On all ranks at once."""
        live = {player for export in self.game.exports.values() if not export.averaged for player in export.players}
        return self.engine.whole(sorted(live), averages=True)

    @contextlib.contextmanager
    def networks(self) -> Iterator[dict[str, nn.Module]]:
        """The game's exports, in eval mode inside the context, with the moving averages of those that use them, as
        `scalegan.load` would load them."""
        averaged, players = self._averaged(), self.game.players
        networks = {name: self.game.compose(export, [averaged[p] if export.averaged else players[p]
                                                     for p in export.players])
                    for name, export in self.game.exports.items()}
        training = [module for network in networks.values() for module in network.modules() if module.training]
        for module in training:
            module.training = False
        try:
            yield networks
        finally:
            for module in training:
                module.training = True

    def _averaged(self) -> dict[str, nn.Module]:
        """The moving averages; those with BatchNorm are copied, and get standing statistics."""
        found = {name: copy.deepcopy(network) if has_norms([network]) else network
                 for name, network in self.averages.networks().items()}
        about = self.constants["networks"]
        spec = Spec.of(about["specs"][about["target"] or next(iter(about["specs"]))])
        renew(self.game.exports, found, self.game.compose, spec, about["labels"])
        return found

    def metadata(self) -> dict[str, Any]:
        """The state that is saved beside the tensors, as JSON."""
        return {"format": store.FORMAT, **self.constants, **vars(self.progress), "means": self.means.state(),
                **self.engine.state(), "best": self.best, "seconds": time.monotonic() - self.begun,
                **self.line.facts()}

    def whereabouts(self) -> dict[str, Any]:
        return {"images": self.progress.images, "iterations": self.progress.iterations, "phase": self.phase}

    def resume_from(self, path: Path) -> None:
        """Resumes from a checkpoint, with the attempt that continues from it."""
        self.load(path)
        metadata = store.metadata_of(path)
        self.restore(metadata, Lineage.of(path, metadata))

    def load(self, path: Path) -> None:
        """Loads a checkpoint's tensors. Raises UserError, on all ranks, if they are another recipe's or not finite."""
        def load() -> None:
            store.load_into(path, self.tensors())
            if not finite(self.tensors().values()):
                raise UserError(f"{path} holds values that are not finite, which no run saves; delete it, or name an "
                                "earlier checkpoint with resume=PATH")
        self.ranks.run_collectively(load)

    def restore(self, metadata: Mapping[str, Any], line: Lineage) -> None:
        """Restores progress, means and engine state from what `metadata` saved, to go on along a line of descent."""
        self.progress = Progress(**{name: metadata[name] for name in vars(Progress())})
        attempt = self.rollbacks.attempt_at(self.progress.images)
        self.line = line if attempt <= self.progress.attempt else line.fork(self.progress.images)
        self.progress.attempt = max(self.progress.attempt, attempt)
        self.loader = replace(self.loader, attempt=self.progress.attempt)
        self.means.restore(metadata["means"], self.ranks.device)
        self.engine.restore(metadata)
        self.best = self.ranks.on_main(lambda: self.checkpoints.still_there(metadata.get("best", {})))
        self.evaluation_due, self.good = metadata.get("evaluation_due", False), metadata.get("good", False)
        self.begun = time.monotonic() - metadata["seconds"]
        if self.ranks.is_main:
            self._forget_later_records()

    def _forget_later_records(self) -> None:
        """Removes what an earlier session, or an attempt that was rolled back, recorded later than here."""
        from scalegan.metrics import results  # not imported by runs that neither resume nor evaluate

        results.remove_after(self.folder, self.progress.images)
        power_ema.remove_after(self.folder, self.progress.images)
