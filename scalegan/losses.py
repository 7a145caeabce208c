"""Adversarial losses: pairs of pure functions of logits [N] that return named terms (means over samples).

The discriminator minimises the sum of `discriminator`'s terms, the generator that of `generator`'s. `real` and `fake`
are D's logits for real and generated images; sigmoid(logit) is the probability of being real.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus

from scalegan.divergences import DIVERGENCES, Divergence

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """The discriminator's and the generator's loss.

    Args:
        needs_reals: the generator's loss takes the logits of reals as well.
        paired: each fake is compared with one real, so both need the same condition.
    """

    discriminator: Callable[[Tensor, Tensor], Terms]
    generator: Callable[[Tensor, Tensor | None], Terms]
    needs_reals: bool = False
    paired: bool = False


def _cross_entropy_d(real: Tensor, fake: Tensor) -> Terms:
    """-log s(real) - log(1 - s(fake)), s the sigmoid."""
    return {"real": softplus(-real).mean(), "fake": softplus(fake).mean()}


def _non_saturating_g(fake: Tensor, real: Tensor | None = None) -> Terms:
    """-log s(fake)."""
    return {"fake": softplus(-fake).mean()}


def _saturating_g(fake: Tensor, real: Tensor | None = None) -> Terms:
    """log(1 - s(fake))."""
    return {"fake": -softplus(fake).mean()}


def _hinge_d(real: Tensor, fake: Tensor) -> Terms:
    return {"real": relu(1 - real).mean(), "fake": relu(1 + fake).mean()}


def _linear_d(real: Tensor, fake: Tensor) -> Terms:
    return {"real": -real.mean(), "fake": fake.mean()}


def _linear_g(fake: Tensor, real: Tensor | None = None) -> Terms:
    return {"fake": -fake.mean()}


def _relativistic_d(real: Tensor, fake: Tensor) -> Terms:
    """Compares fakes and reals pair by pair."""
    return {"pair": softplus(fake - real).mean()}


def _relativistic_g(fake: Tensor, real: Tensor) -> Terms:
    return {"pair": softplus(real - fake).mean()}


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> AdversarialLoss:
    """Mao et al. (2017), eq. 2: D drives fakes to a and reals to b, G drives fakes to c."""
    def discriminator(real: Tensor, fake: Tensor) -> Terms:
        return {"real": 0.5 * (real - b).square().mean(), "fake": 0.5 * (fake - a).square().mean()}

    def generator(fake: Tensor, real: Tensor | None = None) -> Terms:
        return {"fake": 0.5 * (fake - c).square().mean()}

    return AdversarialLoss(discriminator, generator)


def energy_based(margin: float = 1.0) -> AdversarialLoss:
    """Zhao, Mathieu & LeCun (2017), eq. 1 and 2, where the logit is minus the energy D(x):
    L_D = D(x) + max(0, m - D(G(z))), L_G = D(G(z)).
    """
    def discriminator(real: Tensor, fake: Tensor) -> Terms:
        return {"real": -real.mean(), "fake": relu(margin + fake).mean()}

    return AdversarialLoss(discriminator, _linear_g)


def f_gan(divergence: Divergence) -> AdversarialLoss:
    """Nowozin et al. (2016), eq. 6: D raises the bound F = E_P g_f(v) - E_Q f*(g_f(v)), G lowers it."""
    def discriminator(real: Tensor, fake: Tensor) -> Terms:
        return {"real": -divergence.activation(real).mean(), "fake": divergence.conjugate(fake).mean()}

    def generator(fake: Tensor, real: Tensor | None = None) -> Terms:
        return {"fake": -divergence.conjugate(fake).mean()}

    return AdversarialLoss(discriminator, generator)


def ratio_matching(divergence: Divergence, estimate: Callable[[Tensor], Tensor]) -> AdversarialLoss:
    """b-GAN (Uehara et al., 2016; Mohamed & Lakshminarayanan, 2016, eq. 20 to 24): D matches the ratio r = p / q by the
    Bregman divergence E_Q [r f'(r) - f(r)] - E_P f'(r), which is f-GAN's loss of D; G minimises E_Q f(r), the
    divergence as r estimates it.

    Args:
        estimate: f(r) of logits. Adding c (r - 1) to f does not change the divergence, but does change this loss; only
            with f'(1) = 0 is it smallest where r = 1.
    """
    def generator(fake: Tensor, real: Tensor | None = None) -> Terms:
        return {"fake": estimate(fake).mean()}

    return AdversarialLoss(f_gan(divergence).discriminator, generator)


def smoothed(loss: AdversarialLoss, target: float = 0.9) -> AdversarialLoss:
    """One-sided label smoothing (Salimans et al., 2016, section 3.4) for any loss: D treats a real as real only with
    probability `target`. With cross-entropy and least squares, `target` thereby becomes the label of reals.
    """
    def discriminator(real: Tensor, fake: Tensor) -> Terms:
        terms, mistaken = loss.discriminator(real, fake), loss.discriminator(fake, real)
        name, opposite = ("pair", "pair") if "pair" in terms else ("real", "fake")
        return {**terms, name: target * terms[name] + (1 - target) * mistaken[opposite]}

    return AdversarialLoss(discriminator, loss.generator, loss.needs_reals, loss.paired)


def directed(loss: AdversarialLoss) -> AdversarialLoss:
    """SAN (Takida et al., 2024) for any loss by which D raises the logits of reals above those of fakes.

    D's logits are [..., 2] (`scalegan.models.layers.slicing`). The first go into the loss, from which features and
    scale learn; the second into Wasserstein's, the term `direction`, from which the direction of the last layer learns:
    it turns to where the means of reals' and fakes' features are furthest apart, whatever the slope of the loss.
    """
    def discriminator(real: Tensor, fake: Tensor) -> Terms:
        direction = fake[..., 1].mean() - real[..., 1].mean()
        return {**loss.discriminator(real[..., 0], fake[..., 0]), "direction": direction}

    return AdversarialLoss(discriminator, loss.generator, loss.needs_reals, loss.paired)


LOSSES = {
    # Goodfellow et al. (2014), section 3: the loss used in practice, and the two-player minimax of eq. 1.
    "non_saturating": AdversarialLoss(_cross_entropy_d, _non_saturating_g),
    "minimax": AdversarialLoss(_cross_entropy_d, _saturating_g),
    # Lim & Ye (2017); Miyato et al. (2018), eq. 16-17.
    "hinge": AdversarialLoss(_hinge_d, _linear_g),
    "least_squares": least_squares(),
    # Arjovsky et al. (2017); D is a critic and needs a Lipschitz constraint.
    "wasserstein": AdversarialLoss(_linear_d, _linear_g),
    # Jolicoeur-Martineau (2019); paired as in R3GAN (Huang et al., 2024), eq. 2.
    "relativistic": AdversarialLoss(_relativistic_d, _relativistic_g, needs_reals=True, paired=True),
    "ebgan": energy_based(),
    **{f"f_{name}": f_gan(divergence) for name, divergence in DIVERGENCES.items()},
    # f(r) = r ln r - r + 1, where r = exp(v - 1) is the conjugate itself; f(r) = (r - 1)^2, where r = 1 + v / 2.
    "b_kl": ratio_matching(DIVERGENCES["kl"], lambda v: (v - 2) * DIVERGENCES["kl"].conjugate(v) + 1),
    "b_pearson": ratio_matching(DIVERGENCES["pearson"], lambda v: v.square() / 4),
}
