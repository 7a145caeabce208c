"""Counter-based randomness: the published vectors, and draws that depend only on their key and position."""

import itertools
import math

import pytest
import torch

from scalegan.kernels.philox import words
from scalegan.randomness import Draws, parameter_generators
from scalegan.support.keys import key_of

# Random123's kat_vectors for philox4x32-10, as counter, key, result. `words` fixes the counter's second word to 0, so
# it can only reproduce the first; all three check the reference below, which checks `words`.
ZEROS = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
KNOWN = [
    ((0, 0, 0, 0), (0, 0), ZEROS),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


def reference(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10 as in the paper, in plain integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        low, high = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (high >> 32) ^ c1 ^ k0, high & 0xFFFFFFFF, (low >> 32) ^ c3 ^ k1, low & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


@pytest.mark.parametrize("counter, key, expected", KNOWN)
def test_reference_gives_the_published_vectors(counter: tuple[int, ...], key: tuple[int, int],
                                               expected: list[int]) -> None:
    assert reference(counter, key) == expected


def test_published_vector() -> None:
    assert words(0, torch.tensor([0]), 1).tolist() == [ZEROS]


def test_every_block_and_position_equals_the_reference() -> None:
    """The counter is (block, 0, low half of the position, high half); extreme values are included."""
    positions = [0, 1, 2**31, 2**32 - 1, 2**32, 0x03707344_13198A2E, 2**63 - 1]
    for key in (0, 1, 0x299F31D0_A4093822, 2**64 - 1):
        found = words(key, torch.tensor(positions), 3)
        for row, position in zip(found.tolist(), positions):
            expected = [reference((block, 0, position & 0xFFFFFFFF, position >> 32), (key & 0xFFFFFFFF, key >> 32))
                        for block in range(3)]
            assert row == list(itertools.chain(*expected))


def draws(positions: torch.Tensor, purpose: str = "G", seed: int = 3, attempt: int = 0) -> Draws:
    return Draws(seed, attempt, purpose, positions)


KINDS = {
    "uniform": lambda d: d.uniform("x", 3, 5),
    "normal": lambda d: d.normal("x", 100),
    "one normal": lambda d: d.normal("x", 1),
    "scalars": lambda d: d.uniform("x"),
    "integers": lambda d: d.integers("x", 1000, 7),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@kinds
@pytest.mark.parametrize("first, last", [(0, 1), (0, 64), (16, 32), (17, 20), (99, 100)])
def test_draws_of_a_slice_are_a_slice_of_the_batchs_draws(kind: object, first: int, last: int) -> None:
    whole = kind(draws(torch.arange(100)))
    assert kind(draws(torch.arange(first, last))).equal(whole[first:last])


@kinds
def test_the_order_of_positions_does_not_matter(kind: object) -> None:
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert kind(draws(shuffled)).equal(kind(draws(torch.arange(50)))[shuffled])


@kinds
def test_global_generators_are_not_used(kind: object) -> None:
    torch.manual_seed(1)
    first, state = kind(draws(torch.arange(4))), torch.get_rng_state()
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert kind(draws(torch.arange(4))).equal(first)


def test_several_draws_at_once_are_those_one_by_one() -> None:
    d, shapes = draws(torch.arange(5)), {"a": (1, 4, 4), "b": (), "c": (33,)}
    found = d.normals(shapes)
    assert all(found[name].equal(d.normal(name, *shape)) for name, shape in shapes.items())


def test_seeds_attempts_purposes_names_and_positions_are_independent() -> None:
    n = torch.arange(2000)
    streams = [draws(n), draws(n, seed=4), draws(n, attempt=1), draws(n, "D"), draws(n + 2000)]
    columns = [d.normal("z", 1) for d in streams] + [draws(n).normal("noise", 1)]
    correlation = torch.corrcoef(torch.cat(columns, 1).T) - torch.eye(6)
    assert correlation.abs().max() < 4.5 / math.sqrt(2000)


def test_normal_is_normal() -> None:
    x = draws(torch.arange(2000)).normal("z", 100).double()
    n = x.numel()
    assert abs(x.mean()) < 4 / math.sqrt(n)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / n)
    assert x.isfinite().all() and x.abs().max() > 4
    assert abs(torch.corrcoef(x.T) - torch.eye(100)).max() < 6 / math.sqrt(2000)  # Box-Muller's pairs too


def test_uniform_is_uniform() -> None:
    x = draws(torch.arange(2000)).uniform("u", 100)
    assert 0 <= x.min() < 1e-4 and 1 - 1e-4 < x.max() < 1
    counts = torch.histc(x, 20, 0, 1)
    assert (counts / 10_000 - 1).abs().max() < 0.05


@pytest.mark.parametrize("high", [1, 2, 3, 1000, 3_033_042])
def test_integers_cover_their_range_alike(high: int) -> None:
    x = draws(torch.arange(3000)).integers("i", high, 10)
    assert x.min() >= 0 and x.max() < high
    assert x.double().mean() == pytest.approx((high - 1) / 2, abs=4 * high / math.sqrt(12 * 30_000) + 1e-9)
    if high <= 3:
        assert len(x.unique()) == high


def test_known_draws() -> None:
    """Draws are part of a run: when these change, say so in CHANGELOG.md."""
    d = Draws(0, 0, "G", torch.tensor([0, 10**12]))
    assert d.integers("label", 1000, 3).tolist() == [[110, 705, 319], [135, 633, 566]]
    assert key_of(0, 0, "G", "label") == 14790332063352908081


def test_initial_weights_are_keyed_by_name() -> None:
    def draw(seed: int, owner: str, name: str) -> list[float]:
        return torch.rand(4, generator=parameter_generators(seed, owner)(name)).tolist()
    assert draw(0, "G", "a") == draw(0, "G", "a")
    different = [draw(0, "G", "a"), draw(0, "G", "b"), draw(0, "D", "a"), draw(1, "G", "a")]
    assert len({tuple(d) for d in different}) == 4
