"""Building blocks of games: conditions, phases, pools, adaptive updates, averages."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.games.adaptive_updates import AdaptiveUpdates
from scalegan.games.base import Batch, Export, Game, Phase, Sample
from scalegan.games.gan.game import GAN
from scalegan.games.penalties.gradient_penalty import GradientPenalty
from scalegan.games.pool import Pool
from scalegan.losses import LOSSES
from scalegan.models import mlp
from scalegan.randomness import Draws
from scalegan.training import build


def batch(conditions: Mapping[str, Tensor], tables: Mapping[str, Tensor], n: int = 512, update: int = 0) -> Batch:
    draws = Draws(0, 0, "D", torch.arange(n) + n * update)
    return Batch({name: Sample(torch.zeros(n, 2), condition) for name, condition in conditions.items()}, draws, tables)


def test_conditions_of_fakes_have_the_frequencies_of_the_records() -> None:
    one = batch({"real": torch.zeros(4096, dtype=torch.long)}, {"real": torch.tensor([0, 1, 1, 2])}, 4096)
    counts = one.condition().bincount(minlength=3) / 4096
    torch.testing.assert_close(counts, torch.tensor([0.25, 0.5, 0.25]), atol=0.03, rtol=0)
    assert torch.equal(one.condition(), one.condition("real"))
    assert batch({"real": None}, {}).condition() is None


def test_different_conditions_differ_from_their_samples_and_keep_the_frequencies_of_the_others() -> None:
    own, table = torch.arange(512) % 4, torch.tensor([0, 1, 2, 2, 3])
    drawn = batch({"real": own}, {"real": table}).condition(different=True)
    assert (drawn != own).all()
    others = drawn[own == 0].bincount(minlength=4)
    assert others[0] == 0 and others[2] > others[1] and others[2] > others[3]
    rows = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])       # attributes: one difference is enough
    own = rows[torch.arange(512) % 3]
    assert (batch({"real": own}, {"real": rows}).condition(different=True) != own).any(1).all()


def test_where_there_is_but_one_class_no_other_is_invented() -> None:
    same = torch.full((64,), 7)
    assert torch.equal(batch({"real": same}, {"real": torch.tensor([7, 7])}, 64).condition(different=True), same)


def test_each_stream_draws_conditions_of_its_own() -> None:
    table = torch.arange(100)
    two = batch({"a": torch.zeros(64, dtype=torch.long), "b": torch.zeros(64, dtype=torch.long)},
                {"a": table, "b": table}, 64)
    assert torch.equal(two.condition(), two.condition("a")) and not torch.equal(two.condition("a"), two.condition("b"))
    assert torch.equal(two[16:32].condition("b"), two.condition("b")[16:32])


def test_what_compares_pairs_gives_both_halves_one_condition() -> None:
    """Relativistic losses in both phases; WGAN-GP's lines between reals and fakes in D's."""
    seen: list[tuple[Tensor, Tensor]] = []

    class Critic(mlp.Discriminator):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
            seen.append((x, labels))
            return super().forward(x, labels)

    for loss, penalties, paired in (("relativistic", {}, "DG"), ("wasserstein", {"gradient": GradientPenalty()}, "D"),
                                    ("hinge", {}, "")):
        game = GAN(mlp.Generator((2,), 8, 1, 2, num_classes=4), Critic((2,), 8, 1, num_classes=4), LOSSES[loss],
                   penalties)
        own = torch.arange(64) % 4
        for phase in game.phases:
            seen.clear()
            phase.loss(batch({"real": own}, {"real": torch.arange(4)}, 64))
            labels = torch.cat([labels for _, labels in seen])
            fakes = labels[64:128] if phase.name == "D" else labels[:64]
            assert torch.equal(fakes, own) == (phase.name in paired), (loss, phase.name)


@pytest.mark.parametrize("phase, images, before, now, due", [
    (Phase("G", ("G",), dict), 0, 0, 0, True),
    (Phase("G", ("G",), dict, between=(100, 200)), 99, 0, 0, False),
    (Phase("G", ("G",), dict, between=(100, 200)), 100, 0, 0, True),
    (Phase("G", ("G",), dict, between=(100, 200)), 200, 0, 0, False),
    (Phase("G", ("G",), dict, between=(100, None)), 10**9, 0, 0, True),
    (Phase("D.r1", ("D",), dict, every=4), 0, 0, 1, True),      # with the first update, the fifth, ...
    (Phase("D.r1", ("D",), dict, every=4), 0, 1, 4, False),
    (Phase("D.r1", ("D",), dict, every=4), 0, 4, 5, True),
    (Phase("D.r1", ("D",), dict, every=4), 0, 3, 8, True),
    (Phase("D.r1", ("D",), dict, every=2), 0, 0, 5, 3),         # with the first, third and fifth update of five
    (Phase("D.r1", ("D",), dict, every=2), 0, 5, 10, 2),
    (Phase("D.r1", ("D",), dict, every=4, between=(100, None)), 64, 4, 5, False),
])
def test_when_a_phase_is_due(phase: Phase, images: int, before: int, now: int, due: int) -> None:
    assert phase.due(images, before, now) == due


def test_a_lazy_phase_belongs_to_the_one_before_its_dot_or_to_the_one_it_names() -> None:
    assert Phase("D.r1", ("D",), dict, every=4).of == "D"
    assert Phase("penalty", ("D",), dict, every=4, main="D").of == "D"
    assert Phase("E.pre", ("E",), dict).of == "E.pre"


def by_hand(size: int, batch_size: int, draws: Draws, history: list[Tensor]) -> list[Tensor]:
    """A pool's output as the papers define it, one sample at a time; an update uses the pool as it was before."""
    places: list[Tensor] = []
    shown = []
    for number, fakes in enumerate(history):
        before, filled = list(places), len(places)
        update = Draws(draws.seed, draws.attempt, draws.purpose, torch.arange(batch_size) + batch_size * number)
        swap, place = update.uniform("pool/swap"), update.uniform("pool/place")
        for i, fake in enumerate(fakes):
            if filled + i < size:
                places.append(fake)
                shown.append(fake)
            elif filled and swap[i] < 0.5:
                chosen = int(place[i] * filled)
                shown.append(before[chosen])
                places[chosen] = fake
            else:
                shown.append(fake)
    return shown


@pytest.mark.parametrize("size", [1, 6, 8, 20])
@pytest.mark.parametrize("micro_batch", [2, 4])
def test_a_pool_shows_what_the_papers_say_whatever_the_micro_batch(size: int, micro_batch: int) -> None:
    pool, history = Pool(size, (3,), 4), [torch.randn(4, 3) for _ in range(30)]
    shown = []
    for number, fakes in enumerate(history):
        whole, kept = batch({}, {}, 4, number), []
        for start in range(0, 4, micro_batch):
            part = slice(start, start + micro_batch)
            shown += list(pool.exchange(whole[part], fakes[part]))
            kept.append(pool.drain_kept())
        pool.commit(**{name: torch.cat([k[name] for k in kept]) for name in kept[0]})
    expected = by_hand(size, 4, whole.draws, history)
    assert torch.equal(torch.stack(shown), torch.stack(expected))
    assert any(not torch.equal(a, b) for a, b in zip(shown, torch.cat(history)))


def test_a_pool_whose_update_was_skipped_is_as_before() -> None:
    pool = Pool(4, (1,), 4)
    pool.exchange(batch({}, {}, 4), torch.ones(4, 1))
    pool.drain_kept()
    assert not pool.filled and not pool.fakes.any()


def test_a_pool_of_no_places_shows_every_fake_itself() -> None:
    fakes = torch.randn(4, 3, requires_grad=True)
    shown = Pool(0, (3,), 4).exchange(batch({}, {}, 4), fakes)
    assert torch.equal(shown, fakes) and not shown.requires_grad


def test_adaptive_updates_are_of_any_two_phases() -> None:
    rule = AdaptiveUpdates(ratio=3.0, updates=5, phases=("G", "D"), terms=("adversarial",))
    g, d, other = (Phase(name, (name,), dict, updates=2) for name in ("G", "D", "other"))
    assert [rule.repeats(p) for p in (g, d, other)] == [2, 2, 2]        # nothing is known yet
    rule.after(g, {"adversarial": torch.tensor(7.0), "cycle": torch.tensor(100.0)})
    rule.after(d, {"adversarial": torch.tensor(2.0)})
    rule.after(other, {"adversarial": torch.tensor(1e9)})
    assert [rule.repeats(p) for p in (g, d, other)] == [5, 2, 2]
    rule.after(d, {"adversarial": torch.tensor(22.0)})
    assert [rule.repeats(p) for p in (g, d)] == [2, 5]


def test_averages_are_of_the_players_that_leave_the_game() -> None:
    class Three(Game):
        exports = {"read": Export(("G", "E"), output="vector"), "G": Export(("G",)),
                   "D": Export(("D",), averaged=False)}

    assert Three().averaged == ("G", "E")
    composed = Three.compose(Three.exports["read"], [nn.Linear(2, 3), nn.Linear(3, 1)])
    assert composed(torch.zeros(4, 2)).shape == (4, 1)


def test_a_phase_with_many_updates_anyway_does_not_get_fewer_as_it_lags_behind() -> None:
    rule = AdaptiveUpdates(ratio=3.0, updates=5)
    many, few = Phase("D", ("D",), dict, updates=8), Phase("D", ("D",), dict, updates=2)
    rule.after(many, {"real": torch.tensor(10.0)})
    rule.after(Phase("G", ("G",), dict), {"fake": torch.tensor(0.1)})
    assert (rule.repeats(many), rule.repeats(few)) == (8, 5)


def test_a_path_length_penalty_of_no_weight_is_no_phase() -> None:
    model = {"name": "stylegan2", "channel_base": 64, "channel_max": 8, "latent_dim": 8, "mapping_layers": 2}
    for weight, phases in ((0, ["D", "G"]), (2, ["D", "G", "G.path"])):
        recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16}, "game": {
            "name": "gan", "penalties": {"path_length": {"weight": weight}}}, "model": model}, "test")
        assert [phase.name for phase in build.game(recipe, {"real": Spec("image", (3, 16, 16))}).phases] == phases
