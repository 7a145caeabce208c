"""Curves in few points, however long a run is."""

from collections.abc import Sequence

BUCKETS = 150


class Curve:
    """Points (x, y) of a figure, of which as many are kept as a chart can show, with every extreme.

    Attributes:
        xs, ys: the points, in ascending order of x; at most some 600.
    """

    def __init__(self) -> None:
        self.xs: list[float] = []
        self.ys: list[float] = []

    def extend(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Adds points. Those of a damaged file may be out of order."""
        self.xs += xs
        self.ys += ys
        if self.xs != sorted(self.xs):
            order = sorted(range(len(self.xs)), key=self.xs.__getitem__)
            self.xs, self.ys = [self.xs[i] for i in order], [self.ys[i] for i in order]
        if len(self.xs) > 4 * BUCKETS:
            self.xs, self.ys = self.thinned()

    def thinned(self) -> tuple[list[float], list[float]]:
        """At most some 300 of the points: the lowest and highest of each bucket along x, and the last."""
        xs, ys = self.xs, self.ys
        if len(xs) <= 2 * BUCKETS:
            return xs, ys
        start, width = xs[0], (xs[-1] - xs[0]) / BUCKETS or 1
        kept, end, low, high = [], start + width, 0, 0
        for i, (x, y) in enumerate(zip(xs, ys)):
            if x >= end:
                kept += sorted({low, high})
                low = high = i
                end = start + width * ((x - start) // width + 1)
            elif y < ys[low]:
                low = i
            elif y > ys[high]:
                high = i
        kept += sorted({low, high, len(xs) - 1})
        return [xs[i] for i in kept], [ys[i] for i in kept]
