"""The recipe: all keys at the top level."""

from dataclasses import field
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from scalegan.config.augment import Augment, NoAugment
from scalegan.config.data import Data
from scalegan.config.models import DCGAN, Model
from scalegan.config.reports import Eval, Log, Snapshot
from scalegan.config.schema import Name, typed
from scalegan.config.training import Checkpoint, Ema, Engine, Health, Optimizer, PowerEma
from scalegan.games.gan.settings import GAN
from scalegan.games.table import Game


@typed
class Recipe:
    run_dir: str
    """Run folder; the same command run again resumes there."""
    seed: NonNegativeInt = 0
    """Seed of all random draws."""
    total_images: PositiveInt
    """Real images after which training ends."""
    batch_size: PositiveInt = 64
    """Samples per update, over all ranks."""
    micro_batch_size: PositiveInt | None = None
    """The micro-batch: samples per forward and backward; null takes a rank's whole share at once."""
    lanes: PositiveInt = 8
    """Streams into which the data order is split; must divide batch_size and be a multiple of the number of ranks."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the networks; auto is bf16 where the device computes it natively, fp32 elsewhere."""
    resume: str = "auto"
    """auto: resume from the newest complete checkpoint; never: refuse a folder that has any; or a checkpoint's path."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=DCGAN)
    game: Game = field(default_factory=GAN)
    streams: dict[Name, Data] = field(default_factory=dict)
    """For games with several streams of samples: all but `data`, by name: streams.B.path, ..."""
    optimizer: dict[str, Optimizer] = field(default_factory=dict)
    """One per player: optimizer.G.lr, optimizer.D.betas, ...; optimizer.default applies to players not named."""
    augment: Augment = field(default_factory=NoAugment)
    """Augmentation of D's inputs, reals and fakes alike."""
    ema: Ema = field(default_factory=Ema)
    emas: dict[Name, Ema] = field(default_factory=dict)
    """Extra averages by name: {short: {half_life_images: 1000}}; `scalegan sample --ema short` uses one."""
    power_ema: PowerEma | None = None
    """Averages from which averages of other lengths can be reconstructed after training, or null."""
    engine: Engine = field(default_factory=Engine)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    health: Health = field(default_factory=Health)
    log: Log = field(default_factory=Log)
    snapshot: Snapshot = field(default_factory=Snapshot)
    eval: Eval = field(default_factory=Eval)
