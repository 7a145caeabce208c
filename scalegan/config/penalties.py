"""Keys under `game.penalties`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from scalegan.config.schedule import Schedule
from scalegan.config.schema import Beta, typed


@typed
class GradientNorm:
    """How R1 and R2 find the norm of D's gradient."""

    method: Literal["exact", "finite_difference"] = "exact"
    """exact differentiates D twice, but for R3GAN's, which needs no second derivatives; finite_difference compares D's
    logits at a sample and at its noisy copy, which needs first derivatives alone (Lin et al., 2025, "Diffusion
    Adversarial Post-Training")."""
    sigma: PositiveFloat = 0.01
    """finite_difference: standard deviation of the noise, where images lie in [-1, 1]. Below 0.05, D runs in fp32."""
    antithetic: bool = False
    """finite_difference: compare noise added with noise subtracted: exact for quadratic D, at one more pass."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """finite_difference: share of each micro-batch that is penalised."""
    noise: Literal["sample", "augmented"] = "sample"
    """finite_difference: add noise to the sample, of which an augmentation then makes the same as without, or to the
    augmented sample. Exact penalties are those of the sample."""


@typed
class R2(GradientNorm):
    """gamma / 2 times the mean squared gradient norm of D at fakes; a term in every update of D."""

    gamma: NonNegativeFloat | Schedule = 1.0
    """Weight."""


@typed
class PathLength:
    """StyleGAN2's path length regularisation of G, as a lazy phase; active if weight > 0."""

    weight: NonNegativeFloat = 2.0
    """Weight."""
    decay: Beta = 0.99
    """Decay of the running mean path length, per update."""
    every: PositiveInt = 4
    """Updates of G per update of the penalty."""


@typed
class Orthogonal:
    """BigGAN's orthogonal regularisation, a term in every update (Brock et al., 2019, equation 3)."""

    weight: NonNegativeFloat = 1e-4
    """Weight, for both players."""


@typed
class R1(GradientNorm):
    """gamma / 2 times the mean squared gradient norm of D at real images (Mescheder et al., 2018)."""

    gamma: NonNegativeFloat | Schedule = 1.0
    """Weight."""
    every: PositiveInt = 1
    """1 adds the term to each update of D; k > 1 makes it a lazy phase at every k-th, rescaled as in StyleGAN2."""


@typed
class GradientPenalty:
    """weight times the mean of (gradient norm - 1)^2 of D between reals and fakes (Gulrajani et al., 2017)."""

    weight: NonNegativeFloat = 10.0
    """Weight: the paper's lambda."""


@typed
class PullAway:
    """weight times the mean squared cosine between the encodings of pairs of fakes (Zhao et al., 2017); a term of G."""

    weight: NonNegativeFloat = 0.1
    """Weight."""
    group: Annotated[int, Field(ge=2)] = 16
    """Consecutive samples among which pairs are taken."""


@typed
class Consistency:
    """bCR: D's logits for an image and its flipped and shifted copy should agree (Zhao et al., 2020, "Improved
    Consistency Regularization for GANs"); a term in every update of D."""

    real: NonNegativeFloat = 10.0
    """Weight of the mean squared difference at reals."""
    fake: NonNegativeFloat = 10.0
    """Weight at fakes."""
    pixels: PositiveInt = 4
    """Largest shift, in either direction."""


@typed
class LeCam:
    """D's logits of reals are held below its running mean of fakes' logits, and those of fakes above that of reals'
    (Tseng et al., 2021, "Regularizing Generative Adversarial Networks under Limited Data"); a term in every update of
    D."""

    weight: NonNegativeFloat = 0.3
    """Weight: the paper's lambda."""
    decay: Beta = 0.9
    """Decay of the running means, per update."""
    start: NonNegativeInt = 1000
    """Updates of D from which on the term is added."""


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
    """WGAN-GP's penalty on D, or null; active with loss=wgan_gp."""
    pull_away: PullAway | None = None
    """Pull-away term of G, or null; active with loss=ebgan_pt."""
    bcr: Consistency | None = None
    """Balanced consistency regularisation of D, or null."""
    lecam: LeCam | None = None
    """LeCam regularisation of D, or null."""
