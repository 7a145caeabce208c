"""Layers that draw at random in training, from keyed draws: dropout (Srivastava et al., 2014)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from scalegan.randomness import Draws


class Keyed(nn.Module):
    """A layer that is random in training. Within `drawn_from`, what it draws is a function of the sample's position and
    of how often the network has been called, so that a run has the same bits on any number of ranks; elsewhere, in
    training, it is refused, since a run would no longer be reproducible."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: Draws | None = None
        self.passes = 0

    def next_draws(self) -> tuple["Draws", str]:
        """The draws, and the name of this call's. Raises RuntimeError outside `drawn_from`."""
        if self.draws is None:
            raise RuntimeError(f"{type(self).__name__} has no draws; call the network in drawn_from(), or in eval mode")
        self.passes += 1
        return self.draws, f"pass {self.passes - 1}"


class KeyedDropout(Keyed):
    """In training, sets each value to 0 with probability `p` and divides the others by 1 - p; see `Keyed`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        draws, name = self.next_draws()
        kept = draws.uniform(name, *x.shape[1:]) >= self.p
        return x * kept.to(x.dtype) / (1 - self.p)


@contextmanager
def drawn_from(draws: "Draws", *networks: nn.Module) -> Iterator[None]:
    """Lets the networks' random layers draw from the draws of a loss, each layer and each call its own;
    contexts nest."""
    layers = [(f"dropout/{number}/{name}", layer) for number, network in enumerate(networks)
              for name, layer in network.named_modules() if isinstance(layer, Keyed)]
    before = [(layer.draws, layer.passes) for _, layer in layers]
    for name, layer in layers:
        layer.draws, layer.passes = draws.of(name), 0
    try:
        yield
    finally:
        for (_, layer), (draws_before, passes) in zip(layers, before):
            layer.draws, layer.passes = draws_before, passes
