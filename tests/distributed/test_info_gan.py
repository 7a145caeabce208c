"""A game of three players, where one phase moves two (InfoGAN: Chen et al., 2016): the trainer need not know."""

from pathlib import Path

import torch
import torch.nn.functional as F
from harness import spawn
from torch import Tensor, nn

from scalegan import config
from scalegan.averages.ema import Ema
from scalegan.checkpoints import store
from scalegan.checkpoints.store import Checkpoints
from scalegan.config import loading
from scalegan.data.opening import open_data
from scalegan.data.reading.stream import Stream
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.optimizers import make
from scalegan.engines.ranks import Ranks
from scalegan.games.base import Batch, Game, Phase, latents
from scalegan.losses import LOSSES, Terms
from scalegan.models import dcgan
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.models.layers.initial import Generators
from scalegan.training import build
from scalegan.training.batch_loader import Feed
from scalegan.training.run import Run
from scalegan.training.stop_request import StopRequest
from scalegan.training.trainer import Outcome, train

CODES = 5


class CodePredictor(nn.Module):
    """Images [N, 3, 16, 16] to logits of the code [N, CODES]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 4, 4), GroupedBatchNorm(6), nn.ReLU(), nn.Flatten(),
                                    nn.Linear(96, CODES))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    @torch.no_grad()
    def initialise(self, generator: Generators) -> None:
        for name, parameter in self.named_parameters():
            parameter.normal_(0, 0.1, generator=generator(name))


class InfoGAN(Game):
    """G and Q together make the code readable from the image; D knows of no code."""

    def __init__(self) -> None:
        super().__init__()
        self.G = dcgan.Generator(16, 3, 4, 8, num_classes=CODES)
        self.D, self.Q, self.loss = dcgan.Discriminator(16, 3, 4), CodePredictor(), LOSSES["non_saturating"]
        self.players = {"G": self.G, "D": self.D, "Q": self.Q}
        self.phases = [Phase("D", ("D",), self.judge), Phase("GQ", ("G", "Q"), self.forge, fresh_batch=False)]

    def _fakes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        codes = batch.draws.integers("code", CODES)
        return self.G(latents(self.G, batch.draws), codes), codes

    def judge(self, batch: Batch) -> Terms:
        with torch.no_grad():
            fakes, _ = self._fakes(batch)
        return self.loss.discriminator(self.D(batch.reals), self.D(fakes))

    def forge(self, batch: Batch) -> Terms:
        fakes, codes = self._fakes(batch)
        return {**self.loss.generator(self.D(fakes), None), "code": F.cross_entropy(self.Q(fakes), codes)}


def play(ranks: Ranks, data: str, folder: str, total_images: int) -> tuple[int, str, set[str], float]:
    """Trains in `folder`, from its newest checkpoint on; returns images, digest, who moved, and the code's loss."""
    recipe = loading.parse({
        "run_dir": folder, "total_images": total_images, "batch_size": 64, "lanes": 4, "micro_batch_size": 16,
        "data": {"path": data, "resolution": 16}, "model": {"name": "dcgan"}, "log": {"every_images": 128},
        "checkpoint": {"every_images": 256}, "engine": {"reduction": "tree"}}, "test")
    chunks, *_ = open_data(recipe)
    game = InfoGAN()
    build.initialise(game, recipe.seed)
    start = {name: [p.clone() for p in player.parameters()] for name, player in game.players.items()}
    optimizers = make({name: config.Optimizer(lr=1e-3) for name in game.players}, game)
    lanes = range(ranks.rank * 4 // ranks.world, (ranks.rank + 1) * 4 // ranks.world)
    run = Run(recipe=recipe, folder=Path(folder), ranks=ranks, game=game, optimizers=optimizers,
              engine=DDPEngine(game, optimizers, ranks, 16, tree=True), ema=Ema(game.G, 500),
              feed=Feed(recipe.seed, 0, 64, ranks.rank * 64 // ranks.world, ranks.device, True, None),
              open_stream=lambda position: Stream(chunks, lanes, position, 0),
              checkpoints=Checkpoints(Path(folder) / "checkpoints", ranks, 2), facts={},
              draw_samples=lambda generator, path: None, lock=None)
    path = run.checkpoints.newest()
    if path is not None:
        store.load_into(path, run.tensors())
        run.restore(store.facts_of(path))
    assert train(run, StopRequest(ranks)) is Outcome.FINISHED
    moved = {name for name, player in game.players.items()
             if any(not torch.equal(p, old) for p, old in zip(player.parameters(), start[name]))}
    fresh = run.feed.batch(run.feed.prepare(Stream(chunks, lanes, 0, 0).take()), "GQ", 0)
    code = float(run.engine.update(game.phases[1], fresh)["code"])
    newest = run.checkpoints.newest()
    return run.progress.images, store.digest(store.read(newest)), moved, code


def test_same_bits_on_any_ranks_and_after_a_restart(tiny_set: Path, tmp_path: Path) -> None:
    (images, expected, moved, code), = spawn(1, play, str(tiny_set), str(tmp_path / "alone"), 1280)
    assert images == 1280
    assert moved == {"G", "D", "Q"}
    assert code < 1.5 < torch.tensor(float(CODES)).log()  # the predictor has learnt something of the code

    for _, digest, *_ in spawn(2, play, str(tiny_set), str(tmp_path / "two"), 1280):
        assert digest == expected

    (half, other, *_), = spawn(1, play, str(tiny_set), str(tmp_path / "moved"), 640)
    assert half == 640
    assert other != expected
    for images, digest, *_ in spawn(2, play, str(tiny_set), str(tmp_path / "moved"), 1280):
        assert images == 1280
        assert digest == expected
