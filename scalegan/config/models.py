"""Keys under `model`, by family."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from scalegan.config.gat import GAT
from scalegan.config.schema import Beta, Dropout, typed


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
    """Consecutive samples of the global batch that share BatchNorm statistics, or batch for all of them."""
    norm: Literal["both", "generator", "none"] = "both"
    """Which players have BatchNorm: both as in the paper, G alone as for WGAN-GP, or none. Weights of a player without
    it start at N(0, 2 / fan_in), since N(0, 0.02) relies on norms."""
    activation: Literal["published", "relu", "leaky_relu", "elu", "tanh", "softplus"] = "published"
    """Nonlinearity of both players; published is ReLU in G and LeakyReLU with slope 0.2 in D."""
    virtual_batch: NonNegativeInt = 0
    """Size of the fixed reference batch for virtual batch normalisation in G (Salimans et al., 2016); 0 uses
    BatchNorm."""


@typed
class TextDCGAN:
    """DCGAN on vectors that describe the images (Reed et al., 2016), for 16, 32, 64 and 128 px."""

    name: Literal["text_dcgan"] = "text_dcgan"
    width: PositiveInt = 128
    """Channels of the generator at the highest inner resolution (ngf)."""
    d_width: PositiveInt = 64
    """Channels of the discriminator's first layer (ndf)."""
    text_dim: PositiveInt = 128
    """Length of what each player makes of a vector before it joins z or the features (nt)."""
    latent_dim: PositiveInt = 100
    """Length of z."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z: N(0, 1), or uniform in [-1, 1]."""
    norm_group: PositiveInt | Literal["batch"] = 16
    """Consecutive samples of the global batch that share BatchNorm statistics, or batch for all of them."""


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
class _BigGAN:
    """Keys that BigGAN and BigGAN-deep share."""

    width: PositiveInt | None = None
    """Base width, "ch" in the published code; all widths are multiples of it."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z."""
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
    """Consecutive samples of the global batch that share BatchNorm statistics, or batch for all of them."""


@typed
class BigGAN(_BigGAN):
    """Brock, Donahue & Simonyan (2019): 32 to 256 px. Keys left null take the published scripts' values."""

    name: Literal["biggan"] = "biggan"
    latent_dim: PositiveInt | None = None
    """Length of z; rounded down to a multiple of the number of chunks if the latent is hierarchical."""
    shared_dim: NonNegativeInt | None = None
    """Width of the class embedding shared by all norms; 0 gives each norm its own gains per class."""
    hierarchical: bool | None = None
    """Feed a chunk of z to every block."""


@typed
class BigGANDeep(_BigGAN):
    """BigGAN-deep (Brock, Donahue & Simonyan, 2019, appendix B): 32 to 256 px. Keys left null take published values."""

    name: Literal["biggan_deep"] = "biggan_deep"
    latent_dim: PositiveInt = 128
    """Length of z, which all blocks see whole."""
    shared_dim: PositiveInt = 128
    """Width of the class embedding, which all blocks see beside z."""
    depth: PositiveInt = 2
    """Residual blocks at each resolution, of both players."""


@typed
class StyleGAN2:
    """Karras et al. (2020): 8 to 1024 px."""

    name: Literal["stylegan2"] = "stylegan2"
    latent_dim: PositiveInt = 512
    """Length of z."""
    w_dim: PositiveInt = 512
    """Length of a style."""
    mapping_layers: PositiveInt = 8
    """Layers from z to w."""
    d_mapping_layers: PositiveInt | None = None
    """Layers of D's label mapping; null takes mapping_layers."""
    mapping_lr_multiplier: PositiveFloat = 0.01
    """Learning rate of the mapping layers, relative to the others'."""
    channel_base: PositiveInt = 32768
    """Each resolution has min(channel_base / resolution, channel_max) channels."""
    channel_max: PositiveInt = 512
    """Maximum number of channels at any resolution."""
    architecture: Literal["resnet", "orig"] = "resnet"
    """Architecture of the discriminator."""
    mbstd_group: PositiveInt = 4
    """Consecutive samples over which the minibatch standard deviation is taken."""
    num_half_res: NonNegativeInt = 4
    """Number of highest resolutions that run in bf16 or fp16, if precision asks for it."""
    conv_clamp: PositiveFloat | None = 256.0
    """Bound on activations, or null."""
    w_avg_beta: Beta = 0.998
    """Decay of the average style, per update."""
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Probability that a sample mixes the styles of two latents."""


@typed
class R3GAN:
    """Huang et al. (2024): no normalisation, for the relativistic loss with R1 and R2."""

    name: Literal["r3gan"] = "r3gan"
    width: PositiveInt = 768
    """Channels up to `full_width_until` px; halved at each doubling of resolution beyond."""
    full_width_until: PositiveInt = 32
    """Highest resolution with full width."""
    cardinality: PositiveInt = 96
    """Groups of the 3x3 convolution at full width."""
    blocks: PositiveInt | tuple[PositiveInt, ...] = 2
    """Residual blocks per resolution: one number, or one for each resolution from 4 px up."""
    widths: tuple[PositiveInt, ...] | None = None
    """Channels per resolution from 4 px up, instead of `width` and `full_width_until`."""
    cardinalities: tuple[PositiveInt, ...] | None = None
    """Groups per resolution from 4 px up, instead of `cardinality`."""
    expansion: PositiveInt = 2
    """Inner channels of a block, relative to its outer ones."""
    kernel: PositiveInt = 3
    """Kernel size of the grouped convolution; odd."""
    embedding_dim: PositiveInt = 64
    """Length of the class embedding concatenated to z."""
    latent_dim: PositiveInt = 64
    """Length of z."""
    latent: Literal["normal", "uniform"] = "normal"
    """Distribution of z."""


@typed
class RRDB:
    """Residual-in-residual dense blocks of ESRGAN (Wang et al., 2018), which enlarge images; for converted networks."""

    name: Literal["rrdb"] = "rrdb"
    scale: Literal[1, 2, 4, 8, 16] = 4
    """Size of the answer, relative to the image."""
    unshuffle: Literal[1, 2, 4] = 1
    """Side of the squares of pixels that become channels first, as in Real-ESRGAN's networks for scales 1 and 2."""
    width: PositiveInt = 64
    """Channels between blocks (nf)."""
    blocks: PositiveInt = 23
    """Residual-in-residual dense blocks."""
    growth: PositiveInt = 32
    """Channels that each convolution of a dense block adds (gc)."""


@typed
class SRVGG:
    """Compact network of Real-ESRGAN (Wang et al., 2021), which enlarges images; for converted networks."""

    name: Literal["srvgg"] = "srvgg"
    scale: Annotated[int, Field(ge=1, le=16)] = 4
    """Size of the answer, relative to the image."""
    width: PositiveInt = 64
    """Channels."""
    layers: PositiveInt = 16
    """Convolutions between the first and the last (num_conv)."""


@typed
class Projected:
    """Projected GAN's discriminator (Sauer et al., 2021), on features of a frozen EfficientNet-Lite0; needs the extra
    metrics."""

    name: Literal["projected"] = "projected"
    width: PositiveInt = 64
    """Channels of the projection at the highest resolution (cout)."""
    size: Annotated[int, Field(ge=128, multiple_of=32)] = 224
    """Images whose shorter side is below it are enlarged to it, in px: a multiple of 32, from 128 on."""
    norm_group: PositiveInt = 16
    """Consecutive samples of the global batch that share BatchNorm statistics."""


#: Networks from image to image that no recipe trains: `scalegan convert` makes them of published weights.
CONVERTED = ("rrdb", "srvgg")


@typed
class _ImageToImage:
    """Keys that generators from image to image share, and those of their discriminator of patches."""

    width: PositiveInt = 64
    """Channels of the generator at the highest resolution (ngf)."""
    norm: Literal["instance", "instance_affine", "batch", "none"] = "instance"
    """instance: over each image, without gains, the same in training and afterwards; instance_affine: with gains, as
    BatchNorm over one image; batch: BatchNorm, whose running statistics are used afterwards; none."""
    norm_group: PositiveInt | Literal["batch"] = 1
    """Consecutive samples that share BatchNorm statistics, or batch for all; the papers' batches have one sample."""
    d_width: PositiveInt = 64
    """Channels of the discriminator's first layer (ndf)."""
    d_layers: Annotated[int, Field(ge=0, le=6)] = 3
    """Strided layers of the discriminator: 1 to 6 see patches of 16, 34, 70, 142, 286, 574 px, 0 single pixels."""
    d_scales: Annotated[int, Field(ge=1, le=4)] = 1
    """Discriminators, each further one at half the size of the one before (Wang et al., 2018)."""


@typed
class UNet(_ImageToImage):
    """U-Net of pix2pix (Isola et al., 2017), from image to image."""

    name: Literal["unet"] = "unet"
    levels: Annotated[int, Field(ge=5, le=16)] | None = None
    """Halvings of the image; null is as many as data.resolution allows, from 5 at 32 px to 8 from 256 px on."""
    dropout: Dropout = 0.5
    """Dropout in the innermost layers of the decoder, in training."""


@typed
class ResNet(_ImageToImage):
    """Residual generator of CycleGAN (Zhu et al., 2017), from image to image."""

    name: Literal["resnet_i2i"] = "resnet_i2i"
    blocks: PositiveInt = 9
    """Residual blocks: 6 for 128 px and 9 from 256 px on in the paper."""
    dropout: Dropout = 0.0
    """Dropout in the residual blocks, in training."""


@typed
class Fabbri(_ImageToImage):
    """U-Net of Fabbri's comparative study of colorization (2017), with BatchNorm everywhere; it has as many levels as
    data.resolution allows, from 5 at 32 px to 8 from 256 px on."""

    name: Literal["fabbri"] = "fabbri"
    norm: Literal["batch"] = "batch"
    """BatchNorm, also of the innermost features, which have one pixel per image."""
    norm_group: Annotated[int, Field(ge=2)] = 4
    """Consecutive samples that share BatchNorm statistics; the study's batches have four."""
    upsampling: Literal["resize", "transposed"] = "resize"
    """Decoder: nearest neighbours, then 3x3 convolutions, or transposed 4x4 convolutions; the study's code has both."""
    dropout: Dropout = 0.5
    """Dropout in the innermost layer of the decoder, in training."""


@typed
class SRResNet:
    """Ledig et al. (2017): an image of two or four times the size, and SRGAN's discriminator."""

    name: Literal["srresnet"] = "srresnet"
    scale: Literal[2, 4] = 4
    """Side of the answer relative to the input's."""
    width: PositiveInt = 64
    """Channels of the generator at the input's resolution."""
    blocks: PositiveInt = 16
    """Residual blocks."""
    norm_group: PositiveInt | Literal["batch"] = 16
    """Consecutive samples of the global batch that share BatchNorm statistics, or batch for all of them."""
    d_width: PositiveInt = 64
    """Channels of the discriminator's first layer."""


@typed
class StarGAN:
    """Choi et al. (2018): an image and the labels that it should have to an image."""

    name: Literal["stargan"] = "stargan"
    width: PositiveInt = 64
    """Channels of the generator at the highest resolution."""
    blocks: PositiveInt = 6
    """Residual blocks."""
    d_width: PositiveInt = 64
    """Channels of the discriminator's first layer; each further layer has twice as many."""
    d_layers: Annotated[int, Field(ge=1, le=8)] | None = None
    """Strided layers of the discriminator; null leaves 2 x 2 px or more, with at most the published six."""


@typed
class AutoencoderKL:
    """Rombach et al. (2022): convolutional encoder and decoder of images with latents of channels, height and width, in
    the layout of the weights that are published for Stable Diffusion."""

    name: Literal["autoencoder_kl"] = "autoencoder_kl"
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=8)] = (128, 256, 512, 512)
    """Channels at each resolution from the images' down (block_out_channels); between them, images are halved."""
    layers: PositiveInt = 2
    """Residual blocks at each resolution of the encoder; the decoder has one more."""
    latent_channels: PositiveInt = 4
    """Channels of latents."""
    groups: PositiveInt = 32
    """Groups of channels in norms (norm_num_groups); divides all widths."""


Model = Annotated[DCGAN | TextDCGAN | MLP | BigGAN | BigGANDeep | StyleGAN2 | R3GAN | GAT | UNet | ResNet | Fabbri |
                  SRResNet | RRDB | SRVGG | StarGAN | AutoencoderKL, Field(discriminator="name")]
IMAGE_TO_IMAGE = ("unet", "resnet_i2i", "fabbri")       # of the input's size
UPSCALERS = ("srresnet",)
BY_LABELS = ("stargan",)                        # of the input's size, with other labels
AUTOENCODERS = ("autoencoder_kl",)              # whose latents have height and width
