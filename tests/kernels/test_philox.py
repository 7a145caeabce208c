"""Draws in one kernel beside the CPU's: on a GPU, or on a CPU by Triton's interpreter (see test_interpreter.py)."""

import os

import pytest
import torch

from scalegan.kernels import philox

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(),
                                                  reason="there is no CUDA device")]

POSITIONS = [0, 1, 5, 2**31, 2**32 - 1, 2**32, 0x03707344_13198A2E, 2**63 - 1]
KEYS = [1, 0x299F31D0_A4093822, 2**64 - 1]


def both(kind: str, keys: list[int], sizes: list[int], positions: list[int],
         high: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """From the kernel, and the reference's on the CPU."""
    here = torch.tensor(positions, dtype=torch.int64)
    signed = [key - 2**64 if key >= 2**63 else key for key in keys]
    flat = philox._in_one_kernel(kind, signed, sizes, here.to(DEVICE), high).cpu()
    parts = flat.split([len(here) * size for size in sizes])
    found = [part.view(len(here), size) for part, size in zip(parts, sizes)]
    return found, philox.draw(kind, keys, sizes, here, high)


@pytest.mark.parametrize("size", [1, 3, 31, 32, 33, 100, 1024])
def test_uniforms_are_bitwise_the_cpus(size: int) -> None:
    found, expected = both("uniform", KEYS[:1], [size], POSITIONS)
    assert found[0].dtype == torch.float32 and found[0].equal(expected[0])


@pytest.mark.parametrize("high", [1, 2, 1000, 3_033_042, 2**31 - 1])
def test_integers_are_the_cpus(high: int) -> None:
    found, expected = both("integers", KEYS[2:], [7], POSITIONS, high)
    assert found[0].dtype == torch.int64 and found[0].equal(expected[0])


@pytest.mark.parametrize("size", [1, 16, 31, 33, 100, 2000])
def test_normals_are_the_cpus_but_for_the_last_bit(size: int) -> None:
    (found,), (expected,) = both("normal", KEYS[1:2], [size], POSITIONS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-7, atol=1e-12)
    assert (found != expected).float().mean() < 1e-3


@pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])
def test_several_draws_in_one_kernel_are_those_one_by_one(kind: str) -> None:
    sizes = [16, 1, 256]
    together, expected = both(kind, KEYS, sizes, POSITIONS, 10)
    for i, size in enumerate(sizes):
        alone, _ = both(kind, KEYS[i : i + 1], [size], POSITIONS, 10)
        assert together[i].equal(alone[0])
        torch.testing.assert_close(together[i], expected[i], rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])
def test_a_samples_draws_know_nothing_of_its_batch(kind: str) -> None:
    (whole,), _ = both(kind, KEYS[:1], [37], list(range(40)), 1000)
    (part,), _ = both(kind, KEYS[:1], [37], list(range(17, 20)), 1000)
    assert part.equal(whole[17:20])


@pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])
def test_nothing_may_be_drawn(kind: str) -> None:
    for sizes, positions in (([3, 5], []), ([0], [1, 2])):
        found, _ = both(kind, KEYS[: len(sizes)], sizes, positions, 10)
        assert sum(part.numel() for part in found) == 0


@pytest.mark.skipif(INTERPRETED, reason="of the operator on a GPU")
@pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])
def test_the_operator_uses_the_kernel_and_agrees_with_its_fallback(kind: str, recwarn: object) -> None:
    positions = torch.arange(16, device=DEVICE)
    found = philox.draw(kind, KEYS, [4, 1024, 9], positions, 1000)
    assert not [w for w in recwarn if "fused kernel" in str(w.message)]
    fallback = philox._one_by_one(kind, KEYS, [4, 1024, 9], positions, 1000)
    torch.testing.assert_close(torch.cat([part.flatten() for part in found]), fallback, rtol=2e-7, atol=1e-12)
