"""Keys under `game.tricks`."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from scalegan.config.schedule import Schedule
from scalegan.config.schema import Text, typed


@typed
class FeatureMatching:
    """weight times the mean over D's last features f of (E f(x) - E f(G(z)))^2, a term of G (Salimans et al., 2016)."""

    weight: NonNegativeFloat = 1.0
    """Weight."""
    group: PositiveInt = 16
    """Consecutive samples whose means are compared."""


@typed
class MinibatchDiscrimination:
    """Gives D the similarity of a sample's features to those of others (Salimans et al., 2016)."""

    kernels: PositiveInt = 100
    """B in the paper."""
    kernel_dim: PositiveInt = 5
    """C in the paper."""
    group: Annotated[int, Field(ge=2)] = 16
    """Consecutive samples that are compared."""


@typed
class HistoricalAveraging:
    """weight times the squared distance of both players' weights from their past mean (Salimans et al., 2016)."""

    weight: NonNegativeFloat = 1.0
    """Weight."""


@typed
class AdaptiveUpdates:
    """More updates for the player whose loss is much higher."""

    ratio: PositiveFloat = 3.0
    """A player lags if its last loss is positive and above this many times the magnitude of the other's."""
    updates: PositiveInt = 5
    """Updates per iteration of the lagging player, if it has not more anyway."""


@typed
class LatentMixture:
    """DeLiGAN: z = mu_k + sigma_k eps from a mixture that G learns, with a term weight (1 - sigma)^2 (Gurumurthy et
    al., 2017)."""

    components: PositiveInt = 50
    """Components of the mixture, drawn with equal probability."""
    deviation: PositiveFloat = 0.2
    """Initial sigma."""
    weight: NonNegativeFloat = 0.3
    """Weight of the term of G that draws sigma towards 1; 1/3 on MNIST and 0.1 on 2-D points in the published code."""


@typed
class Alignment:
    """weight times (1 - cosine) between what D predicts and what a frozen network sees in real images, a term of D
    (Hyun et al., 2025); of model.name=gat."""

    weight: NonNegativeFloat = 1.0
    """Weight."""
    backbone: Text = "efficientnet_lite0"
    """Frozen network: efficientnet_lite0, whose weights come with the extra metrics; other weights of it, in a
    .safetensors file; or a TorchScript file, whose network takes images normalised by ImageNet's means and deviations
    and gives a map [N, C, h, w], tokens [N, T, C] or a vector [N, C]. It is part of the run's identity."""
    size: Annotated[int, Field(ge=32)] = 224
    """Side of the image that the frozen network sees, in pixels."""
    hidden: PositiveInt = 2048
    """Features of the two hidden layers by which D predicts."""


@typed
class Tricks:
    feature_matching: FeatureMatching | None = None
    """A term of G, or null."""
    minibatch_discrimination: MinibatchDiscrimination | None = None
    """An extra input to D's last layer, or null."""
    historical_averaging: HistoricalAveraging | None = None
    """A term of both players, or null."""
    san: bool = False
    """SAN: the direction of D's last layer learns by Wasserstein's loss, everything else by `loss` (Takida et al.,
    2024)."""
    label_smoothing: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    """D's target probability for reals; 0.9 gives one-sided label smoothing."""
    instance_noise: NonNegativeFloat | Schedule = 0.0
    """Standard deviation of Gaussian noise on reals and fakes before D, such as {start: 0.1, end: 0, images: ...}."""
    latent_mixture: LatentMixture | None = None
    """A learned mixture as the distribution of latents, or null. eps has the distribution `model.latent`."""
    alignment: Alignment | None = None
    """D predicts the features of a frozen network, or null."""
    adaptive_updates: AdaptiveUpdates | None = None
    """Adaptive numbers of updates, or null."""
