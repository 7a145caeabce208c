"""The toy study's settings per dataset, equal for all objectives, and the definition of each objective."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Networks and optimisation on one dataset.

    Args:
        hidden, layers: width and number of hidden layers, of both G and D.
        frequency_g, frequency_d: of their first layers (see `Stack`).
        spread: factor of the initial weights of G's last layer; if small, all samples start near one point.
        latent_dim: length of z, standard normal.
        batch_size: samples per update of a seed.
        updates: of G; D moves `critic` times before each.
        lr_g, lr_d, betas: of Adam; learning rates fall linearly to 0 over the second half.
        ema: decay, per update of G, of the average of G's weights, which makes the samples.
    """

    hidden: int = 64
    layers: int = 3
    frequency_g: float = 1.0
    frequency_d: float = 2.0
    spread: float = 1.0
    latent_dim: int = 2
    batch_size: int = 128
    updates: int = 2000
    lr_g: float = 1e-3
    lr_d: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.9)
    ema: float = 0.995


@dataclass(frozen=True)
class Objective:
    """Defines an objective, with its paper's settings.

    Args:
        loss: name in `scalegan.losses`.
        critic: updates of D per update of G.
        gradient_penalty: WGAN-GP's lambda.
        clip: bound on D's weights; D then uses RMSProp with `rmsprop_lr`.
        unroll: steps of D that G looks ahead, of size `unroll_lr`, which falls with the learning rates.
        minibatch: kernels of minibatch discrimination.
        energy: D is an auto-encoder.
        pull_away: weight of the pull-away term.
        mixture: components of the latents' mixture, whose deviations start at `deviation` and are drawn towards 1
            with `mixture_weight` (DeLiGAN).
        generators: generators that share all layers but the last, told apart by D (MAD-GAN).
        consensus: gamma of consensus optimisation, with which both players step together.
    """

    loss: str
    critic: int = 1
    gradient_penalty: float = 0.0
    clip: float = 0.0
    rmsprop_lr: float = 0.0
    unroll: int = 0
    unroll_lr: float = 0.0
    minibatch: int = 0
    energy: bool = False
    pull_away: float = 0.0
    mixture: int = 0
    deviation: float = 0.02
    mixture_weight: float = 0.1
    generators: int = 0
    consensus: float = 0.0


SETTINGS = {
    "ring8": Settings(layers=2, frequency_g=0.0, frequency_d=0.0, spread=0.1, updates=5000),
    "grid25": Settings(frequency_g=2.0, frequency_d=3.0, updates=8000, lr_g=3e-3, lr_d=3e-3),
    "moons": Settings(updates=1500),
    "spiral": Settings(updates=1500),
}

OBJECTIVES = {
    **{name: Objective(name) for name in ("minimax", "non_saturating", "least_squares")},
    "wasserstein_clip": Objective("wasserstein", critic=5, clip=0.01, rmsprop_lr=5e-5),
    "wgan_gp": Objective("wasserstein", critic=5, gradient_penalty=10.0),
    "hinge": Objective("hinge"),
    "ebgan": Objective("ebgan", energy=True),
    "ebgan_pt": Objective("ebgan", energy=True, pull_away=0.1),
    "relativistic": Objective("relativistic"),
    **{name: Objective(name) for name in ("f_kl", "f_reverse_kl", "f_js", "f_hellinger", "f_pearson",
                                         "b_kl", "b_pearson")},
    "unrolled": Objective("minimax", unroll=5, unroll_lr=0.003),
    "minibatch_discrimination": Objective("non_saturating", minibatch=3),
    "deligan": Objective("non_saturating", mixture=50),
    "madgan": Objective("non_saturating", generators=8),
    "consensus": Objective("non_saturating", consensus=0.1),
}
