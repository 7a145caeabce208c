"""Which generators take psi: as they say, so they do."""

import pytest
import torch
from small_generators import GAT, GENERATORS, generator

from scalegan.games.sampling import truncates

DELIGAN = {"model": GENERATORS["BigGAN"][0]["model"], "game": {"tricks": {"latent_mixture": {"components": 3}}}}


@pytest.mark.parametrize("name", [*GENERATORS, "GAT", "DeLiGAN of BigGAN"])
def test_a_generator_takes_psi_or_says_that_it_does_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, "GAT", GAT)
    monkeypatch.setitem(GENERATORS, "DeLiGAN of BigGAN", (DELIGAN, 32, 0, ""))
    network = generator(name)
    classes = GENERATORS[name][2] if "condition" in network.about["export"]["inputs"] else 0
    z, labels = torch.randn(3, network.latent_dim), torch.arange(3) if classes else None
    if not truncates(network):
        with pytest.raises(ValueError, match=r"no truncation; leave psi at 1"):
            network(z, labels, psi=0.5)
    else:
        assert not torch.equal(network(z, labels, psi=0.5), network(z, labels, psi=1.0))
