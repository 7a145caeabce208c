"""Adversarial flow: its terms against the paper's formulas, the normalised gradient, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from small_games import SAMPLES, Witness, batch_for

from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.engines.ddp import DDPEngine
from scalegan.engines.ranks import Ranks
from scalegan.errors import RecipeError
from scalegan.games.adversarial_flow.game import AdversarialFlow, NormalisedGradient
from scalegan.randomness import Draws
from scalegan.training import build

SPECS = {"real": Spec("image", (3, 8, 8), classes=3)}
MODEL = {"name": "gat", "patch": 2, "depth": 2, "width": 16, "heads": 2, "outputs": 1, "label_dim": 6}


def game(**keys: object) -> AdversarialFlow:
    data = {"path": "-", "resolution": 8, "labels": "class"}
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": data, "model": MODEL,
                            "optimizer": {"default": {}},
                            "game": {"name": "adversarial_flow", "transport": 0.3,
                                     "penalties": {"r1": {"method": "finite_difference"}}, **keys}}, "test")
    return build.game(recipe, SPECS)


def update(played: AdversarialFlow, name: str, micro_batch: int = SAMPLES) -> tuple[dict, list[torch.Tensor]]:
    witnesses = {player: Witness(network) for player, network in played.players.items()}
    phase = next(phase for phase in played.phases if phase.name == name)
    batch = batch_for(SPECS, Draws(0, 0, name, torch.arange(SAMPLES)))
    figures = DDPEngine(played, witnesses, Ranks(0, 1, torch.device("cpu")), micro_batch).update(phase, batch)
    return figures, witnesses[name].found


@pytest.mark.parametrize("decay", [None, 0.9])
def test_both_players_terms_are_the_papers(decay: float | None) -> None:
    played = game(gradient_decay=decay)
    for name in ("D", "G"):
        batch = batch_for(SPECS, Draws(0, 0, name, torch.arange(SAMPLES)))
        z = batch.draws.normal("z", 192)
        x, y = batch.reals, batch.labels
        with torch.no_grad():
            made = played.G(z, y)
            real, fake = played.D(x, y), played.D(made, y)
        figures, _ = update(played, name)
        sign = 1 if name == "G" else -1
        expected = {"pair": F.softplus(sign * (real - fake)).mean()}
        if name == "D":
            expected["centring"] = 0.01 * (real + fake).square().mean()
        else:
            expected["transport"] = 0.3 * (made.flatten(1) - z).square().mean(1).mean()
        for term, value in expected.items():
            assert figures[term].item() == pytest.approx(value.item(), rel=1e-5)


def test_the_gradient_that_g_gets_has_the_stated_norm_and_d_s_direction() -> None:
    normalised, x = NormalisedGradient(0.9), torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    for scale in (5.0, 5.0, 0.5):
        given, seen = x.clone().requires_grad_(), x.clone().requires_grad_()
        loss = scale * given.square().sum((1, 2)).mean()
        value = normalised(loss, given, seen)
        slope, = torch.autograd.grad(value, seen)
        assert value.item() == pytest.approx(loss.item(), rel=1e-5)
        assert F.cosine_similarity(slope.flatten(), x.flatten(), 0).item() == pytest.approx(1)
        norm = (6 * slope).square().sum((1, 2)).mean().sqrt().item() * 12**0.5
        average = 1.0 if scale == 5.0 else (0.9 + 0.1 * 0.1**2) ** 0.5 / 0.1        # of squares, over this one's
        assert norm == pytest.approx(1 / average, rel=1e-4)
        normalised.advance(**normalised.drain())
    assert normalised.updates == 3


def test_micro_batches_add_up_but_for_the_average_that_they_see() -> None:
    played = game()
    for _ in range(200):                                                            # the average settles
        played.normalised.advance(played.normalised.square.new_tensor(1.0))
    played.normalised.decay = 1.0
    whole, half = (update(played, "G", size)[1] for size in (SAMPLES, SAMPLES // 2))
    for one, other in zip(whole, half):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)


def test_z_is_the_sample_s_shape_and_a_generator_alone_is_the_same() -> None:
    played = game()
    assert played.G.latent_dim == 3 * 8 * 8 and played.G.levels == 1


@pytest.mark.parametrize("model, says", [
    ({"name": "dcgan"}, "use model.name=gat"), ({**MODEL, "outputs": 2}, "set model.outputs=1")])
def test_networks_that_cannot_transport_are_refused(model: dict, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        loading.load(["recipe=adversarial_flow_cifar10_small", "data.path=x",
                      f"model={{{', '.join(f'{key}: {value}' for key, value in model.items())}}}"])
