"""R1 against closed forms, and the number of D's forward passes."""

import pytest
import torch
from small_games import game_of, networks
from torch import nn

from scalegan.games.base import Batch
from scalegan.games.gan.game import GAN
from scalegan.games.gan.mixture import LatentMixture
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.games.penalties.orthogonal import Orthogonal
from scalegan.games.penalties.path_length import PathLength
from scalegan.losses import LOSSES
from scalegan.models import mlp
from scalegan.penalties import r1, squared_gradient_norm
from scalegan.randomness import Draws


def test_linear_critic() -> None:
    """D(x) = <w, x>: gamma / 2 |w|^2, wherever x is; d/dw = gamma w."""
    w = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    penalty = r1(x @ w, x, gamma=10.0)
    assert penalty.item() == pytest.approx(10 / 2 * 169)
    assert torch.autograd.grad(penalty, w)[0].tolist() == pytest.approx([30, -40, 120])


def test_quadratic_critic() -> None:
    """D(x) = a / 2 |x|^2: gamma / 2 a^2 mean |x|^2; d/da = gamma a mean |x|^2."""
    a = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[1.0, 2.0], [0.0, 4.0]], dtype=torch.float64, requires_grad=True)
    penalty = r1(a / 2 * x.square().sum(1), x, gamma=2.0)
    assert penalty.item() == pytest.approx(9 * (5 + 16) / 2)
    assert torch.autograd.grad(penalty, a)[0].item() == pytest.approx(2 * 3 * (5 + 16) / 2)


def test_norm_sums_over_all_axes_of_a_sample() -> None:
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    assert squared_gradient_norm((2 * x).sum((1, 2, 3)), x).tolist() == pytest.approx([4 * 75] * 4)


def penalties(size: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, nn.Parameter]:
    """R1 in fp32 and under autocast for a critic with gradients of about `size`, and one of its weights."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    with torch.no_grad():
        critic[3].weight.mul_(size)
    x = torch.randn(8, 3, 8, 8, requires_grad=True)
    exact = r1(critic(x).flatten(), x, 1.0)
    with torch.autocast("cpu", dtype):
        return exact, r1(critic(x).flatten(), x, 1.0), critic[1].weight


halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])


@halves
@pytest.mark.parametrize("size", [1e-3, 1e-5])
def test_small_gradients_survive_autocast(dtype: torch.dtype, size: float) -> None:
    """Per pixel they are below fp16's smallest number (6e-8), and their squares far below; none may be flushed to
    zero."""
    exact, found, _ = penalties(size, dtype)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=0.02)


@halves
def test_second_derivatives_survive_autocast(dtype: torch.dtype) -> None:
    exact, found, weight = penalties(1e-3, dtype)
    expected, = torch.autograd.grad(exact, weight)
    gradient, = torch.autograd.grad(found * 2.0**16, weight)  # as a GradScaler scales it
    assert (gradient / 2**16 - expected).norm() < 0.02 * expected.norm()


class WithWideHead(nn.Module):
    """Its first layer follows autocast, its head stays in full precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 32), nn.Sequential(nn.Linear(32, 256), nn.Softplus(), nn.Linear(256, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x).float()
        with torch.autocast("cpu", enabled=False):
            return self.head(h).squeeze(1)


@halves
def test_heads_in_full_precision_are_differentiated_in_it(dtype: torch.dtype) -> None:
    """Bit for bit as after autocast's end, where no product of the head can be rounded; so are second derivatives."""
    torch.manual_seed(0)
    critic, x = WithWideHead(), torch.randn(8, 64, requires_grad=True)
    with torch.autocast("cpu", dtype):
        inside = squared_gradient_norm(critic(x), x)
        logits = critic(x)
    outside = squared_gradient_norm(logits, x)
    assert inside.equal(outside)
    for one, two in zip(*(torch.autograd.grad(norm.sum(), critic.parameters(), allow_unused=True)
                          for norm in (inside, outside)), strict=True):
        assert one is two is None or one.equal(two)

    with torch.autocast("cpu", dtype):          # the head's part by itself, beside float64
        h = critic.first(x).detach().float().requires_grad_()
        with torch.autocast("cpu", enabled=False):
            logits = critic.head(h)
        found = squared_gradient_norm(logits, h)
    wide = h.detach().double().requires_grad_()
    expected = squared_gradient_norm(critic.double().head(wide), wide)
    torch.testing.assert_close(found.double(), expected, rtol=3e-6, atol=0)


def test_path_lengths_are_those_without_autocast() -> None:
    """For a synthesis network in full precision: autocast changes nothing in its gradient."""
    torch.manual_seed(0)
    ws, weight = torch.randn(4, 3, 8, requires_grad=True), torch.randn(8, 48)
    noise = torch.randn(4, 3, 4, 4)
    images = (ws.sum(1) @ weight).sin().view(4, 3, 4, 4)
    expected = PathLength()(images, ws, noise)
    with torch.autocast("cpu", torch.bfloat16):
        assert PathLength()(images, ws, noise).equal(expected)


R1, R2, LAZY = R1R2Penalty("real", 1.0), R1R2Penalty("fake", 1.0), R1R2Penalty("real", 1.0, 4)


@pytest.mark.parametrize("penalties, added", [([], []), ([R1, R2], ["r1", "r2"]),
                                              ([R1, Orthogonal()], ["orthogonal", "r1"]), ([LAZY], [])],
                         ids=["none", "R1 and R2", "R1 and orthogonal", "lazy R1"])
def test_penalties_of_every_update_share_the_main_phases_forward(penalties: list, added: list[str]) -> None:
    """D sees each real and each fake once, whatever penalties are added; a lazy penalty has its own phase and forward
    pass."""
    game = GAN(mlp.Generator((2,), 8, 2), mlp.Discriminator((2,), 8, 2), LOSSES["non_saturating"],
               {str(number): penalty for number, penalty in enumerate(penalties)})
    seen: list[int] = []
    game.D.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
    terms = game.discriminator_loss(Batch.of(torch.randn(4, 2), Draws(0, 0, "D", torch.arange(4))))
    assert sum(seen) == 8 and set(terms) == {"real", "fake", *added}


def test_orthogonal_regularisation_leaves_the_shared_embedding_out_of_a_generator_with_a_mixture_of_latents() -> None:
    for wrapped in (False, True):
        game = game_of("biggan", *networks("biggan"))
        game.G = game.players["G"] = LatentMixture(game.G, components=2) if wrapped else game.G
        sum(Orthogonal(1.0).generator_terms(game, None, None, None).values()).backward()
        found = {name: p.grad is not None for name, p in game.G.named_parameters() if p.dim() > 1}
        assert {name for name, moved in found.items() if not moved} == {f"{'generator.' * wrapped}shared.normed.weight"}
