"""Training loops written from the papers, in plain PyTorch: no engine, game, penalty or optimizer of ScaleGAN.

Shared with ScaleGAN are the networks, the draws, the data, and ADA's transformations of pixels. Equations are numbered
as in the papers; what the published code adds is marked as such.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalegan.augment.ada import GROUPS
from scalegan.randomness import Draws

SEED = 5


@dataclass
class Shared:
    """What a loop has in common with ScaleGAN.

    Args:
        G, D: trained in place.
        batch: samples per update.
        data: position in the run -> reals and their labels, or None.
        labels: of the whole dataset, from which those of fakes are drawn; None without labels.
        pipe: share of p by group of ADA's transformations.
        seen: position at which the run begins.
    """

    G: nn.Module
    D: nn.Module
    batch: int
    data: Callable[[int], tuple[Tensor, Tensor | None]]
    labels: Tensor | None = None
    pipe: Mapping[str, float] = field(default_factory=dict)
    seen: int = 0

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.G)
        self.updates: dict[str, int] = {}

    def take(self) -> tuple[Tensor, Tensor | None]:
        """The next reals and their labels."""
        self.seen += self.batch
        return self.data(self.seen - self.batch)

    def draws(self, phase: str) -> Draws:
        """The numbers of the next update of a phase."""
        number = self.updates[phase] = self.updates.get(phase, -1) + 1
        return Draws(SEED, 0, phase, torch.arange(number * self.batch, (number + 1) * self.batch))

    def fake_labels(self, draws: Draws) -> Tensor | None:
        """Labels for fakes, from the data's own distribution and not those of the batch's reals."""
        return None if self.labels is None else self.labels[draws.integers("fake_label", len(self.labels))]

    def z(self, draws: Draws) -> Tensor:
        if self.G.latent == "uniform":
            return 2 * draws.uniform("z", self.G.latent_dim) - 1
        return draws.normal("z", self.G.latent_dim)

    def augment(self, images: Tensor, draws: Draws, side: str, p: float) -> Tensor:
        for name, transform in GROUPS.items():
            if p > 0 and self.pipe.get(name):
                images = transform(images, draws.of(f"augment/{side}"), p * self.pipe[name])
        return images

    @torch.no_grad()
    def track(self, decay: float) -> None:
        """average <- decay average + (1 - decay) weights."""
        for mine, theirs in zip(self.average.parameters(), self.G.parameters()):
            mine.copy_(decay * mine + (1 - decay) * theirs)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, regularise: Callable[[], None] = lambda: None) -> None:
    """One step of a player. What a loss does not reach has a gradient of zero, as in the TensorFlow code of StyleGAN2;
    `regularise` adds to the gradients, as the published BigGAN does."""
    optimizer.zero_grad()
    loss.backward()
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    regularise()
    optimizer.step()


def half_life(images: float, ramp: float | None, seen: int, batch: int) -> float:
    """Decay of an average after a batch (Karras et al., 2020, "Limited Data", table in appendix F; published code)."""
    images = images if ramp is None else min(images, ramp * seen)
    return 0.5 ** (batch / max(images, 1e-8))


def squared_slopes(logits: Tensor, images: Tensor) -> Tensor:
    """|grad D(x)|^2 of each image."""
    gradient, = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return (gradient**2).sum(dim=tuple(range(1, gradient.dim())))


# --- D and G in turns -----------------------------------------------------------------------------------------------

class CrossEntropy:
    """Goodfellow et al. (2014): D ascends log D(x) + log(1 - D(G(z))) (eq. 1), G ascends log D(G(z)) (section 3)."""

    paired = False      # whether D compares a real with a fake, so that both have the same label

    def d(self, s: Shared, x: Tensor, y: Tensor | None, fake: Tensor, c: Tensor | None, draws: Draws) -> Tensor:
        return -torch.log(torch.sigmoid(s.D(x, y))).mean() - torch.log(1 - torch.sigmoid(s.D(fake, c))).mean()

    def g(self, s: Shared, fake: Tensor, c: Tensor | None) -> Tensor:
        return -torch.log(torch.sigmoid(s.D(fake, c))).mean()

    def gradients_of(self, network: nn.Module) -> None:
        """Adds to gradients that are not a loss's."""

    def after_d(self, s: Shared) -> None:
        """What follows each update of D."""

    def after_g(self, s: Shared) -> None:
        """What follows each update of G."""


class LeastSquares(CrossEntropy):
    """Mao et al. (2017), eq. 9: labels a = 0 for fakes and b = 1 for reals; G wants c = 1."""

    def d(self, s, x, y, fake, c, draws):
        return ((s.D(x, y) - 1) ** 2).mean() / 2 + (s.D(fake, c) ** 2).mean() / 2

    def g(self, s, fake, c):
        return ((s.D(fake, c) - 1) ** 2).mean() / 2


class ClippedCritic(CrossEntropy):
    """Arjovsky et al. (2017), algorithm 1: lines 5 to 7, and 10."""

    def d(self, s, x, y, fake, c, draws):
        return -(s.D(x, y).mean() - s.D(fake, c).mean())

    def g(self, s, fake, c):
        return -s.D(fake, c).mean()

    @torch.no_grad()
    def after_d(self, s):
        for weight in s.D.parameters():
            weight.copy_(weight.clip(-0.01, 0.01))


class GradientPenalty(ClippedCritic):
    """Gulrajani et al. (2017), eq. 3 with lambda = 10; x^ = e x + (1 - e) x~ as in algorithm 1, line 6."""

    paired = True

    def d(self, s, x, y, fake, c, draws):
        share = draws.uniform("between")[:, None, None, None]
        mixed = (share * x + (1 - share) * fake).requires_grad_()
        slopes = squared_slopes(s.D(mixed, y), mixed).sqrt()
        return super().d(s, x, y, fake, c, draws) + 10 * ((slopes - 1) ** 2).mean()

    def after_d(self, s):
        pass


class EnergyPullAway(CrossEntropy):
    """Zhao et al. (2017): eq. 1 with the margin 1, eq. 2, and 0.1 times the pull-away term of eq. 4.

    D returns minus the energy. The term is taken within groups of 16.
    """

    def d(self, s, x, y, fake, c, draws):
        return -s.D(x).mean() + torch.clamp(1 + s.D(fake), min=0).mean()

    def g(self, s, fake, c):
        terms = []
        for part in s.D.encode(fake).flatten(1).split(16):
            cosines = F.cosine_similarity(part[:, None], part[None], dim=2)
            others = ~torch.eye(len(part), dtype=torch.bool)
            terms.append((cosines[others] ** 2).sum() / (len(part) * (len(part) - 1)))
        return -s.D(fake).mean() + 0.1 * torch.stack(terms).mean()


class Hinge(CrossEntropy):
    """Brock et al. (2019): the hinge loss of Miyato et al. (2018), eq. 16 and 17, spectral norm, and eq. 3.

    Args:
        beta: strength of the orthogonal regularisation, for weights of two axes or more but shared embeddings.
    """

    def __init__(self, beta: float = 0.0) -> None:
        self.beta = beta

    def d(self, s, x, y, fake, c, draws):
        return torch.clamp(1 - s.D(x, y), min=0).mean() + torch.clamp(1 + s.D(fake, c), min=0).mean()

    def g(self, s, fake, c):
        return -s.D(fake, c).mean()

    @torch.no_grad()
    def gradients_of(self, network):
        """The published code's gradient: 2 beta (W W^T o (1 - I)) W."""
        for name, weight in network.named_parameters():
            if self.beta and weight.dim() > 1 and not name.startswith("shared"):
                matrix = weight.reshape(len(weight), -1)
                apart = matrix @ matrix.T * (1 - torch.eye(len(matrix)))
                weight.grad += 2 * self.beta * (apart @ matrix).view_as(weight)

    def after_d(self, s):
        self.power_iteration(s.D)

    def after_g(self, s):
        self.power_iteration(s.G)

    @staticmethod
    @torch.no_grad()
    def power_iteration(network: nn.Module) -> None:
        """Miyato et al. (2018), algorithm 1: v <- W^T u / |W^T u|, u <- W v / |W v|; here once per update."""
        for module in network.modules():
            if hasattr(module, "u"):
                matrix = module.weight.reshape(len(module.weight), -1)
                v = matrix.T @ module.u
                u = matrix @ (v / v.norm())
                module.u.copy_(u / u.norm())


def in_turns(s: Shared, iterations: int, formulas: CrossEntropy, optimizers: Mapping[str, Callable], decay: Callable,
             d_updates: int = 1, labels_of_reals: bool = False) -> None:
    """D moves `d_updates` times, each time on a batch of its own; then G moves once.

    Args:
        optimizers: functions from parameters to an optimizer, by player.
        decay: of G's average, from the images seen before the iteration and the number that it takes.
        labels_of_reals: a fault, to be found: fakes are judged under the labels of the reals beside them.
    """
    of_d, of_g = optimizers["D"](s.D.parameters()), optimizers["G"](s.G.parameters())
    for _ in range(iterations):
        before = s.seen
        for _ in range(d_updates):
            x, y = s.take()
            draws = s.draws("D")
            c = y if formulas.paired or labels_of_reals else s.fake_labels(draws)
            fake = s.G(s.z(draws), c).detach()
            step(of_d, formulas.d(s, x, y, fake, c, draws), lambda: formulas.gradients_of(s.D))
            formulas.after_d(s)
        draws = s.draws("G")
        c = y if labels_of_reals else s.fake_labels(draws)
        step(of_g, formulas.g(s, s.G(s.z(draws), c), c), lambda: formulas.gradients_of(s.G))
        formulas.after_g(s)
        s.track(decay(before, s.seen - before))


# --- StyleGAN2 ------------------------------------------------------------------------------------------------------

def stylegan2(s: Shared, iterations: int, lr: float, gamma: float, ema: float, ramp: float | None = None,
              path_weight: float = 2.0, mixing: float = 0.9, ada_target: float | None = None, ada_images: float = 5e5,
              p: float = 0.0, labels_of_reals: bool = False, r1_interval: int = 16, correct_adam: bool = True) -> None:
    """Karras et al. (2020): G before D on one batch; lazy penalties, for which appendix B scales the learning rate and
    the betas by c = k / (k + 1) and the penalty by k. The published code keeps G's c without path length, too."""
    def adam(network: nn.Module, every: int) -> torch.optim.Adam:
        c = every / (every + 1) if correct_adam else 1
        return torch.optim.Adam(network.parameters(), lr=lr * c, betas=(0.0, 0.99**c), eps=1e-8)

    def labels(draws: Draws, y: Tensor | None) -> Tensor | None:
        return y if labels_of_reals else s.fake_labels(draws)

    def styles(draws: Draws, c: Tensor | None, count: int) -> Tensor:
        """Mixing: with probability 0.9, a second latent takes over from a layer in 1 ... num_ws - 1 (one draw per
        sample; Karras et al., 2019, section 3.1)."""
        c = None if c is None else c[:count]
        ws = s.G.mapping(s.z(draws)[:count], c)
        others = s.G.mapping(draws.normal("z2", s.G.latent_dim)[:count], c)
        cutoff, chance = 1 + draws.integers("cutoff", s.G.num_ws - 1), draws.uniform("mix")
        rows = [torch.cat([ws[i, :cutoff[i]], others[i, cutoff[i]:]]) if chance[i] < mixing else ws[i]
                for i in range(count)]
        return torch.stack(rows)

    def images(draws: Draws, ws: Tensor) -> Tensor:
        return s.G.synthesis(ws, lambda name, shape: draws.normal(f"noise/{name}", *shape[1:])[: len(ws)])

    of_g, of_d, mean_length, signs = adam(s.G, 4), adam(s.D, 16), torch.tensor(0.0), []
    for iteration in range(iterations):
        seen = s.seen
        x, y = s.take()

        draws = s.draws("G")
        c = labels(draws, y)
        fake = s.augment(images(draws, styles(draws, c, s.batch)), draws, "fake", p)
        step(of_g, F.softplus(-s.D(fake, c)).mean())

        if path_weight and iteration % 4 == 0:      # eq. 4, on half of the batch; a moves by 0.01 (appendix B)
            draws = s.draws("G.path")
            ws = styles(draws, labels(draws, y), s.batch // 2)
            fake = images(draws, ws)
            noise = draws.normal("path", *fake.shape[1:])[: len(ws)] / math.sqrt(fake.shape[2] * fake.shape[3])
            jacobian, = torch.autograd.grad((fake * noise).sum(), ws, create_graph=True)
            lengths = (jacobian**2).sum(2).mean(1).sqrt()
            mean_length = mean_length.detach() + 0.01 * (lengths.mean() - mean_length.detach())
            step(of_g, 4 * path_weight * ((lengths - mean_length) ** 2).mean())

        draws = s.draws("D")
        c = labels(draws, y)
        fake = s.augment(images(draws, styles(draws, c, s.batch)).detach(), draws, "fake", p)
        real = s.D(s.augment(x, draws, "real", p), y)
        step(of_d, F.softplus(s.D(fake, c)).mean() + F.softplus(-real).mean())
        signs.append(real.detach().sign().mean())

        if iteration % 16 == 0:                     # gamma / 2 E |grad D(x)|^2 (appendix B), by the images themselves
            draws, images_of_r1 = s.draws("D.r1"), x.clone().requires_grad_()
            logits = s.D(s.augment(images_of_r1, draws, "real", p), y)
            step(of_d, r1_interval * gamma / 2 * squared_slopes(logits, images_of_r1).mean())

        s.track(half_life(ema, ramp, seen, s.batch))
        if ada_target is not None and (iteration + 1) % 4 == 0:     # "Limited Data", section 3.1
            p += float(torch.sign(torch.stack(signs[-4:]).mean() - ada_target)) * 4 * s.batch / ada_images
            p = max(p, 0.0)


# --- R3GAN ----------------------------------------------------------------------------------------------------------

def cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1))) / 2


def r3gan(s: Shared, iterations: int, gamma: tuple[float, float], p: float, ema: float, total: float,
          seen: float = 0) -> None:
    """Huang et al. (2024): the relativistic loss of pairs with R1 and R2 (section 2) in every update. The published
    code's schedules are cosines in the images that D alone has seen; G takes a batch of its own."""
    of_g, of_d = (torch.optim.Adam(n.parameters(), betas=(0.0, 0.9), eps=1e-8) for n in (s.G, s.D))
    for _ in range(iterations):
        share = seen / total
        for optimizer in (of_g, of_d):
            optimizer.param_groups[0].update(lr=cosine(2e-4, 5e-5, share), betas=(0.0, cosine(0.9, 0.99, share)))
        weight, chance, images = cosine(*gamma, share), cosine(0, p, share), cosine(0, ema, share)

        x, y = s.take()
        draws = s.draws("D")
        x, fake = x.clone().requires_grad_(), s.G(s.z(draws), y).detach().requires_grad_()
        of_x, of_fake = (s.D(s.augment(i, draws, side, chance), y) for i, side in ((x, "real"), (fake, "fake")))
        penalty = weight / 2 * (squared_slopes(of_x, x) + squared_slopes(of_fake, fake))
        step(of_d, (F.softplus(-(of_x - of_fake)) + penalty).mean())

        x, y = s.take()
        draws = s.draws("G")
        fake = s.G(s.z(draws), y)
        of_x, of_fake = (s.D(s.augment(i, draws, side, chance), y) for i, side in ((x, "real"), (fake, "fake")))
        step(of_g, F.softplus(-(of_fake - of_x)).mean())

        s.track(half_life(images, None, seen, s.batch))
        seen += s.batch
