"""BatchNorm over fixed groups: torch's own, group by group, without side effects."""

import pytest
import torch
from torch import nn

from scalegan import kernels
from scalegan.models.layers.batchnorm import GroupedBatchNorm


def pair(group: int | str, channels: int = 3) -> tuple[GroupedBatchNorm, nn.BatchNorm2d]:
    """Ours and torch's, with the same random gains and biases."""
    torch.manual_seed(0)
    ours, theirs = GroupedBatchNorm(channels, group).double(), nn.BatchNorm2d(channels).double()
    for name in ("weight", "bias"):
        nn.init.normal_(getattr(theirs, name))
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"})
    return ours, theirs


def images(n: int) -> torch.Tensor:
    return 3 + 2 * torch.randn(n, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("group, n", [(4, 12), (4, 4), (4, 3), ("batch", 12)])
def test_each_group_is_normed_by_itself(group: int | str, n: int) -> None:
    ours, theirs = pair(group)
    x = images(n)
    groups = [x] if group == "batch" else x.split(group)
    torch.testing.assert_close(ours(x), torch.cat([theirs(g) for g in groups]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 3, 4, 5), (12, 3), (12, 3, 2, 2, 2)], ids=["images", "vectors", "volumes"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
def test_groups_side_by_side_as_on_a_gpu_give_the_same_to_the_second_derivative(
        shape: tuple[int, ...], affine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def results() -> list[torch.Tensor]:
        torch.manual_seed(0)
        norm = GroupedBatchNorm(3, 4, affine=affine).double()
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
        x = (3 + torch.randn(shape, dtype=torch.float64)).requires_grad_()
        y = norm(x)
        slope, = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        leaves = [x, *norm.parameters()]
        gradients = torch.autograd.grad(slope.square().sum() + y.cos().sum(), leaves, allow_unused=True)
        return [y.detach(), slope.detach(), *gradients, *norm.drain().values()]
    expected = results()
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor: True)
    for found, wanted in zip(results(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_vectors_are_normed_too() -> None:
    x = torch.randn(8, 5, dtype=torch.float64)
    found = GroupedBatchNorm(5, 4).double()(x)
    torch.testing.assert_close(found[:4], nn.BatchNorm1d(5).double()(x[:4]), rtol=1e-12, atol=1e-12)


def test_a_part_of_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="10 samples cannot be cut into norm groups of 4"):
        pair(4)[0](images(10))


def test_a_forward_changes_no_buffer() -> None:
    ours, _ = pair(4)
    before = {name: buffer.clone() for name, buffer in ours.named_buffers()}
    ours(images(12))
    assert before.keys() == {"running_mean", "running_var"}
    assert all(buffer.equal(before[name]) for name, buffer in ours.named_buffers())


def test_running_statistics_advance_as_torchs() -> None:
    ours, theirs = pair(12)
    for step in range(3):
        x = images(12) * (step + 1)
        ours(x)
        theirs(x)
        ours.advance(**ours.drain())
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


def test_an_update_of_several_groups_advances_by_their_mean() -> None:
    ours, _ = pair(4)
    x = images(12)
    ours(x)
    ours.advance(**ours.drain())
    mean = torch.stack([g.mean((0, 2, 3)) for g in x.split(4)]).mean(0)
    torch.testing.assert_close(ours.running_mean, 0.1 * mean, rtol=1e-12, atol=1e-12)


def test_eval_looks_at_no_other_sample() -> None:
    ours, _ = pair(4)
    ours(images(12))
    ours.advance(**ours.drain())
    x = images(7)
    together = ours.eval()(x)
    torch.testing.assert_close(together[2:3], ours(x[2:3]), rtol=1e-12, atol=1e-12)
    assert ours.drain() == {}  # and observes nothing


def over_ranks(value: torch.Tensor) -> torch.Tensor:
    """As if one rank held the whole group: summing is the identity."""
    return value * 1


@pytest.mark.parametrize("spanning", [None, over_ranks], ids=["local", "over ranks"])
def test_twice_differentiable(spanning: object) -> None:
    norm = GroupedBatchNorm(2, 3 if spanning is None else "batch").double()
    norm.spanning = spanning
    x = torch.randn(6, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 2, 2, dtype=torch.float64)

    def loss(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return (torch.func.functional_call(norm, {"weight": gain}, (x,)).square() * weights).sum()

    gain = torch.tensor([0.7, -1.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (x, gain))
    assert torch.autograd.gradgradcheck(loss, (x, gain))


def test_over_ranks_formula_is_batchnorms() -> None:
    ours, theirs = pair("batch")
    ours.spanning = over_ranks
    x = images(6)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    ours.advance(**ours.drain())
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=1e-12)
