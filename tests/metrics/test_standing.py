"""Standing statistics: BatchNorm's new averages, and the draws behind them."""

from pathlib import Path

import pytest
import torch

import scalegan
from scalegan.checkpoints import exports
from scalegan.commands import sample
from scalegan.data.spec import Spec
from scalegan.metrics.standing_statistics import standing_statistics
from scalegan.models import biggan, dcgan, r3gan
from scalegan.models.layers.batchnorm import GroupedBatchNorm
from scalegan.randomness import Draws


def loaded(generator: torch.nn.Module, num_classes: int = 0, multilabel: bool = False) -> torch.nn.Module:
    spec = Spec("image", (3, 16, 16), **{"attributes" if multilabel else "classes": num_classes})
    generator.about = {"spec": vars(spec)}
    return generator.eval()


def test_the_averages_are_those_of_fresh_draws() -> None:
    generator = loaded(dcgan.Generator(16, width=4, latent_dim=8, norm_group=8))
    generator.stem[1].running_mean.fill_(9)
    standing_statistics(generator, batches=3, batch_size=16, seed=5)
    z = Draws(5, 0, "standing", torch.arange(48)).normal("z", 8)
    with torch.no_grad():
        groups = generator.stem[0](z[:, :, None, None]).split(8)
    mean = torch.stack([g.mean((0, 2, 3)) for g in groups]).mean(0)
    var = torch.stack([g.var((0, 2, 3)) for g in groups]).mean(0)
    torch.testing.assert_close(generator.stem[1].running_mean, mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(generator.stem[1].running_var, var, rtol=1e-4, atol=1e-6)
    assert not any(module.training for module in generator.modules())


def test_classes_are_drawn_and_nothing_but_the_norms_changes() -> None:
    generator = loaded(biggan.Generator(32, width=4, latent_dim=8, num_classes=3, norm_group=4), 3)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    standing_statistics(generator, batches=2, batch_size=8)
    changed = {name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "running_" in name}
    assert all(not m._observed for m in generator.modules() if isinstance(m, GroupedBatchNorm))


@pytest.mark.parametrize("generator, multilabel, says", [
    (r3gan.Generator(8, width=4, cardinality=2, latent_dim=4), False, "no BatchNorm"),
    (dcgan.Generator(16, width=4, num_classes=3, multilabel=True), True, "attributes"),
], ids=["no norm", "attributes"])
def test_what_has_no_standing_statistics_is_said(generator, multilabel: bool, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        standing_statistics(loaded(generator, 3 if multilabel else 0, multilabel))


def test_sample_draws_with_them(finished_run: Path, tmp_path: Path) -> None:
    for name, more in (("plain", []), ("standing", ["--standing-statistics", "2"])):
        assert sample.main([str(finished_run), "--seeds", "0-3", "--out", str(tmp_path / name), *more]) == 0
    assert (tmp_path / "plain" / "grid.png").read_bytes() != (tmp_path / "standing" / "grid.png").read_bytes()
    generator = scalegan.load(finished_run)
    standing_statistics(generator, batches=2)
    assert exports.sample(generator, [0, 1], torch.tensor([0, 1]), 1.0).isfinite().all()
