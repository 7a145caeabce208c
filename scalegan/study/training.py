"""Trains one objective on one toy dataset, with all seeds in one stack."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scalegan import penalties
from scalegan.data.reading.points import SETS
from scalegan.games.madgan import losses as several
from scalegan.losses import LOSSES, AdversarialLoss, Terms
from scalegan.models.layers.minibatch_discrimination import closeness
from scalegan.study.settings import Objective, Settings
from scalegan.study.stacked import Stack
from scalegan.support.keys import key_of

SAMPLES = 2500
_GROUP = 16  # samples that minibatch discrimination and pull-away are defined over
_KERNEL_DIM = 4
_UPDATES_AHEAD = 50  # whose draws are made at once


class SeedDraws:
    """A seed's random numbers for data and latents, in the order of the calls."""

    def __init__(self, seed: int, purpose: str, count: int) -> None:
        self.generator = torch.Generator().manual_seed(key_of(seed, "study", purpose) & 0xFFFFFFFF)
        self.count = count

    def uniform(self, name: str, *shape: int) -> Tensor:
        return torch.rand(self.count, *shape, generator=self.generator)

    def normal(self, name: str, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        return torch.randint(high, (self.count, *shape), generator=self.generator)


@dataclass(frozen=True)
class Stream:
    """Endless batches [S, n, ...], each seed's from its own draws."""

    seeds: Sequence[int]
    batch_size: int

    def points(self, data: str, purpose: str) -> Iterator[Tensor]:
        return self._batches(f"{purpose}/{data}", SETS[data])

    def normal(self, purpose: str, size: int) -> Iterator[Tensor]:
        return self._batches(purpose, lambda draws: draws.normal("z", size))

    def uniform(self, purpose: str) -> Iterator[Tensor]:
        return self._batches(purpose, lambda draws: draws.uniform("u"))

    def _batches(self, purpose: str, make: Callable[[SeedDraws], Tensor]) -> Iterator[Tensor]:
        draws = [SeedDraws(seed, purpose, self.batch_size * _UPDATES_AHEAD) for seed in self.seeds]
        while True:
            ahead = torch.stack([make(one) for one in draws])
            yield from ahead.split(self.batch_size, dim=1)


class Study:
    """G and D of every seed for one objective; losses are [S], one per seed."""

    def __init__(self, objective: Objective, settings: Settings, data: str, seeds: Sequence[int]) -> None:
        self.objective, self.settings = objective, settings
        self.loss = _of_makers(objective) if objective.generators else LOSSES[objective.loss]
        hidden = [settings.hidden] * settings.layers
        self.G = Stack([settings.latent_dim, *hidden, 2 * max(1, objective.generators)],
                       frequency=settings.frequency_g)
        tail = [settings.latent_dim, *hidden, 2] if objective.energy else [1 + objective.generators]
        self.D = Stack([2, *hidden, *tail], slope=0.2, frequency=settings.frequency_d)
        self.encoding = settings.layers + 1 if objective.energy else settings.layers  # layers up to f(x)
        extra = settings.hidden * objective.minibatch * _KERNEL_DIM + objective.minibatch
        self.extra = extra + -extra % 64
        generators = [[torch.Generator().manual_seed(key_of(seed, "study", player, data) & 0xFFFFFFFF)
                       for seed in seeds] for player in "GD"]
        places = _initial_mixture(objective, settings.latent_dim, generators[0])
        self.g = torch.cat([self.G.initial(generators[0], settings.spread), places], dim=1).requires_grad_()
        kernels = torch.stack([torch.randn(self.extra, generator=one) for one in generators[1]]) / settings.hidden**0.5
        kernels[:, settings.hidden * objective.minibatch * _KERNEL_DIM :] = 0
        self.d = torch.cat([self.D.initial(generators[1]), kernels], dim=1).requires_grad_()
        stream = Stream(seeds, settings.batch_size)
        self.reals = stream.points(data, "reals")
        self.latents = {phase: stream.normal(f"z/{phase}", settings.latent_dim) for phase in "DG"}
        self.shares = stream.uniform("share")

    def fakes(self, g: Tensor, z: Tensor) -> Tensor:
        """G(z) [S, n, 2] for z [S, n, latent_dim]; components and generators take turns over the n samples."""
        n = z.shape[1]
        if self.objective.mixture:
            means, deviations = self.mixture(g).repeat(1, -(-n // self.objective.mixture), 1)[:, :n].chunk(2, dim=2)
            z = means + deviations * z
        made = self.G(g[:, : self.G.size], z)
        if not self.objective.generators:
            return made
        chosen = torch.eye(self.objective.generators)[_turns(n, self.objective.generators)]
        return (made.unflatten(2, (-1, 2)) * chosen[:, :, None]).sum(2)

    def mixture(self, g: Tensor) -> Tensor:
        """Means and deviations of the latents' components, [S, components, 2 latent_dim]."""
        size = self.objective.mixture * 2 * self.settings.latent_dim
        return g[:, self.G.size : self.G.size + size].unflatten(1, (self.objective.mixture, -1))

    def logits(self, d: Tensor, x: Tensor) -> Tensor:
        """D(x) [S, n] for x [S, n, 2], minus the energy if D is an auto-encoder; [S, n, K + 1] with K generators."""
        weights = d[:, : self.D.size]
        if self.objective.energy:
            return -(self.D(weights, x) - x).square().mean(2)
        features = self.D(weights, x, 0, self.encoding)
        logits = self.D(weights, features, self.encoding)
        logits = logits if self.objective.generators else logits.squeeze(2)
        count = self.objective.minibatch
        if not count:
            return logits
        size = self.settings.hidden * count * _KERNEL_DIM
        matrix = d[:, self.D.size : self.D.size + size].unflatten(1, (self.settings.hidden, -1))
        kernels = torch.bmm(features, matrix).flatten(0, 1).unflatten(1, (count, _KERNEL_DIM))
        close = closeness(kernels, _GROUP).unflatten(0, x.shape[:2])
        return logits + (close * d[:, None, self.D.size + size :][:, :, :count]).sum(2)

    def discriminator_loss(self, d: Tensor, reals: Tensor, fakes: Tensor) -> Tensor:
        """D's loss [S]."""
        real, fake = self.logits(d, torch.cat([reals, fakes], dim=1)).chunk(2, dim=1)
        return _per_seed(self.loss.discriminator, real, fake)

    def gradient_penalty(self, reals: Tensor, fakes: Tensor) -> Tensor:
        """The gradient penalty [S]."""
        points = penalties.between(reals.flatten(0, 1), fakes.flatten(0, 1), next(self.shares).flatten())
        logits = self.logits(self.d, points.unflatten(0, reals.shape[:2]))
        squares = penalties.squared_gradient_norm(logits.flatten(), points).unflatten(0, reals.shape[:2])
        return torch.stack([penalties.one_lipschitz(one, self.objective.gradient_penalty) for one in squares])

    def generator_loss(self, reals: Tensor, pace: float) -> Tensor:
        """G's loss [S]; `pace` is the current learning rate as a fraction of the initial one."""
        fakes, d = self.fakes(self.g, next(self.latents["G"])), self.d
        for _ in range(self.objective.unroll):
            d = d.detach().requires_grad_() if d is self.d else d
            step, = torch.autograd.grad(self.discriminator_loss(d, reals, fakes).sum(), d, create_graph=True)
            d = d - pace * self.objective.unroll_lr * step
        real = self.logits(d, reals) if self.loss.needs_reals else torch.zeros_like(fakes[..., 0])
        loss = _per_seed(self.loss.generator, self.logits(d, fakes), real)
        if self.objective.pull_away:
            codes = self.D(self.d[:, : self.D.size], fakes, 0, self.encoding)
            loss = loss + self.objective.pull_away * torch.stack([penalties.pull_away(one, _GROUP) for one in codes])
        if self.objective.mixture:
            deviations = self.mixture(self.g)[..., self.settings.latent_dim :]
            loss = loss + self.objective.mixture_weight * (deviations - 1).square().mean((1, 2))
        return loss

    def joint_gradients(self) -> tuple[Tensor, Tensor]:
        """Gradients of d and g with consensus optimisation, both for the same fakes and weights."""
        reals, fakes = next(self.reals), self.fakes(self.g, next(self.latents["G"]))
        of_d = self.discriminator_loss(self.d, reals, fakes)
        of_g = _per_seed(self.loss.generator, self.logits(self.d, fakes), torch.zeros_like(fakes[..., 0]))
        v_d, = torch.autograd.grad(of_d.sum(), self.d, create_graph=True)
        v_g, = torch.autograd.grad(of_g.sum(), self.g, create_graph=True)
        regulariser = self.objective.consensus / 2 * (v_d.square().sum(1) + v_g.square().sum(1))
        further = torch.autograd.grad(regulariser.sum(), (self.d, self.g))
        return v_d.detach() + further[0], v_g.detach() + further[1]


def train(objective: Objective, settings: Settings, data: str, seeds: Sequence[int]) -> Tensor:
    """Samples [S, 2500, 2] of the averaged generators, one row per seed.

    A seed's row is a function of (objective, settings, data, seed): it does not depend on the other seeds.
    """
    study = Study(objective, settings, data, seeds)
    g = torch.optim.Adam([study.g], lr=settings.lr_g, betas=settings.betas, fused=True)
    if objective.rmsprop_lr:
        d: torch.optim.Optimizer = torch.optim.RMSprop([study.d], lr=objective.rmsprop_lr)
    else:
        d = torch.optim.Adam([study.d], lr=settings.lr_d, betas=settings.betas, fused=True)
    rates = [(optimizer.param_groups[0], optimizer.param_groups[0]["lr"]) for optimizer in (g, d)]
    average = study.g.detach().clone()
    for update in range(settings.updates):
        pace = min(1.0, 2 * (1 - update / settings.updates))
        for group, lr in rates:
            group["lr"] = lr * pace
        for _ in range(0 if objective.consensus else objective.critic):
            reals = next(study.reals)
            with torch.no_grad():
                fakes = study.fakes(study.g, next(study.latents["D"]))
            loss = study.discriminator_loss(study.d, reals, fakes)
            if objective.gradient_penalty:
                loss = loss + study.gradient_penalty(reals, fakes)
            _step(d, study.d, loss)
            if objective.clip:
                study.d.data.clamp_(-objective.clip, objective.clip)
        if objective.consensus:
            study.d.grad, study.g.grad = study.joint_gradients()
            d.step()
            g.step()
        else:
            _step(g, study.g, study.generator_loss(reals, pace))
        decay = min(settings.ema, (1 + update) / (10 + update))
        average.mul_(decay).add_(study.g.detach() * (1 - decay))
    z = torch.stack([SeedDraws(seed, "z/samples", SAMPLES).normal("z", settings.latent_dim) for seed in seeds])
    return study.fakes(average, z)


def _step(optimizer: torch.optim.Optimizer, weights: Tensor, loss: Tensor) -> None:
    weights.grad, = torch.autograd.grad(loss.sum(), weights)
    optimizer.step()


def _turns(n: int, count: int) -> Tensor:
    """0 ... count - 1, over and over, [n]."""
    return torch.arange(n) % count


def _of_makers(objective: Objective) -> AdversarialLoss:
    """MAD-GAN's losses, of logits [n, K + 1]."""
    def discriminator(real: Tensor, fake: Tensor) -> Terms:
        return several.discriminator_terms(real, fake, _turns(len(fake), objective.generators))

    return AdversarialLoss(discriminator, lambda fake, real: several.GENERATOR_TERMS[objective.loss](fake))


def _initial_mixture(objective: Objective, latent_dim: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Means, uniform in [-1, 1], and deviations of each component, [S, size]."""
    shape = (objective.mixture, latent_dim)
    return torch.stack([torch.cat([torch.rand(shape, generator=one) * 2 - 1,
                                   torch.full(shape, objective.deviation)], dim=1).flatten() for one in generators])


def _per_seed(loss: Callable[[Tensor, Tensor], Terms], first: Tensor, second: Tensor) -> Tensor:
    """Applies a loss to each seed: logits [S, n] to [S].

    In a loop, because exp and log of a row may differ in the last bits when it is one of many.
    """
    return torch.stack([sum(loss(a, b).values()) for a, b in zip(first, second)])
