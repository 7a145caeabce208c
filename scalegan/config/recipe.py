"""The recipe: all keys at the top level."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt

from scalegan.config.augment import Augment, NoAugment
from scalegan.config.data import Data
from scalegan.config.models import DCGAN, Model
from scalegan.config.reports import Eval, Log, Snapshot
from scalegan.config.schema import Name, Text, typed
from scalegan.config.training import Checkpoint, Ema, Engine, Health, Optimizer, PowerEma
from scalegan.games.gan.settings import GAN
from scalegan.games.table import Game


@typed
class Recipe:
    run_dir: Text
    """Run folder, by default runs/RECIPE; running the same command again resumes there."""
    seed: NonNegativeInt = 0
    """Seed of all random draws."""
    total_images: PositiveInt
    """Real images after which training ends."""
    batch_size: PositiveInt = 64
    """Samples per update, over all ranks."""
    micro_batch_size: PositiveInt | None = None
    """Samples per forward and backward pass on one rank; null: the rank's whole share of the batch at once."""
    lanes: PositiveInt = 8
    """Parts of the data order: a multiple of the number of ranks that divides batch_size."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the networks; auto is bf16 where the device computes it natively, fp32 elsewhere."""
    resume: Text = "auto"
    """auto: resume from the newest complete checkpoint; never: refuse a folder that has any; or a checkpoint's path,
    which counts until the run folder has checkpoints that descend from it."""
    init_from: Text | None = None
    """Weights to begin with: of a run, checkpoint, export or published file."""
    init_classes: tuple[int | Text | None, ...] | Annotated[dict[Text, int | Text | None], BeforeValidator(
        lambda given: {str(key): value for key, value in given.items()} if isinstance(given, dict) else given)] | None \
        = None
    """Class of init_from that each class begins with, in order, or {new: old}."""
    freeze: tuple[Text, ...] = ()
    """Patterns of parameters that are not trained, such as D.blocks.* or G.mapping."""
    data: Data = field(default_factory=Data)
    """The images: where they are, their size and labels, how they are read."""
    model: Model = field(default_factory=DCGAN)
    """The networks: a family, and its sizes."""
    game: Game = field(default_factory=GAN)
    """The training objective: players, losses, penalties, tricks."""
    streams: dict[Name, Data] = field(default_factory=dict)
    """For games with several streams: the datasets besides `data`, by stream name: streams.B.path, ... Their resolution
    is that of data.resolution unless they name one."""
    optimizer: dict[str, Optimizer] = field(default_factory=dict)
    """One per player: optimizer.G.lr, optimizer.D.betas, ...; optimizer.default applies to players not named."""
    augment: Augment = field(default_factory=NoAugment)
    """Augmentation of D's inputs, reals and fakes alike."""
    ema: Ema = field(default_factory=Ema)
    """The moving average of the weights (of G in most games) that samples, exports and evaluations use."""
    emas: dict[Name, Ema] = field(default_factory=dict)
    """Extra averages by name: {short: {half_life_images: 1000}}; `scalegan sample --ema short` uses one."""
    power_ema: PowerEma | None = None
    """Averages from which averages of other lengths can be reconstructed after training, or null."""
    engine: Engine = field(default_factory=Engine)
    """How ranks train together: DDP, FSDP or DeepSpeed, order of sums, threads, compilation."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """How often the run is saved, and how many checkpoints are kept."""
    health: Health = field(default_factory=Health)
    """What happens when losses or gradients are not finite."""
    log: Log = field(default_factory=Log)
    """Reports: metrics.jsonl, TensorBoard, profiles."""
    snapshot: Snapshot = field(default_factory=Snapshot)
    """Sample grids during training."""
    eval: Eval = field(default_factory=Eval)
    """Evaluations during training: FID, KID, ..."""
