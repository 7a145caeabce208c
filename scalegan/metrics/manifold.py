"""How many samples lie in the reals' manifold and vice versa, with manifolds as unions of nearest-neighbour balls."""

import torch
from torch import Tensor

PRC_NEIGHBOURS = 3
PRDC_NEIGHBOURS = 5
_ROWS = 1024            # rows per block of distances; at 50,000 columns, a block takes 400 MB


def precision_recall(fakes: Tensor, reals: Tensor, neighbours: int = PRC_NEIGHBOURS) -> dict[str, float]:
    """Improved precision and recall (Kynkäänniemi et al., NeurIPS 2019, equations 1 to 3; k = 3).

    Precision: the fraction of fakes [n, d] inside or on the ball of some real, whose radius is the distance to its k-th
    nearest real. Recall: the same with the roles exchanged.
    """
    fake_radii, real_radii = _radii(fakes, neighbours), _radii(reals, neighbours)
    precise = torch.cat([(block <= real_radii).any(1) for block in _distances(fakes, reals)])
    recalled = torch.cat([(block <= fake_radii).any(1) for block in _distances(reals, fakes)])
    return {"precision": float(precise.double().mean()), "recall": float(recalled.double().mean())}


def prdc(fakes: Tensor, reals: Tensor, neighbours: int = PRDC_NEIGHBOURS) -> dict[str, float]:
    """Precision, recall, density and coverage (Naeem et al., ICML 2020, equations 3 to 6; k = 5), as in their package
    `prdc`: balls without their boundary.

    Density: the number of reals' balls that a fake lies in, divided by k. Coverage: the fraction of reals with a fake
    inside their ball.
    """
    fake_radii, real_radii = _radii(fakes, neighbours), _radii(reals, neighbours)
    inside = torch.zeros(len(fakes), dtype=torch.float64, device=fakes.device)
    recalled, covered = [], []
    for block, radii in zip(_distances(reals, fakes), real_radii.split(_ROWS)):
        inside += (block < radii[:, None]).sum(0)
        recalled.append((block < fake_radii).any(1))
        covered.append(block.amin(1) < radii)
    return {"precision": float((inside > 0).double().mean()), "recall": float(torch.cat(recalled).double().mean()),
            "density": float(inside.mean() / neighbours), "coverage": float(torch.cat(covered).double().mean())}


def nearest(queries: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices [n, count] of the nearest of `among` [m, d] to each of `queries` [n, d]."""
    found = [block.topk(count, dim=1, largest=False) for block in _distances(queries, among)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Distance of each point to its k-th nearest other point; the point itself is the first of k + 1."""
    return torch.cat([block.kthvalue(neighbours + 1, dim=1).values for block in _distances(points, points)])


def _distances(rows: Tensor, columns: Tensor):
    """Blocks of Euclidean distances: computed in float64 and rounded, so that equal distances compare equal."""
    columns = columns.double()
    squares = columns.square().sum(1)
    for block in rows.split(_ROWS):
        block = block.double()
        squared = squares - 2 * block @ columns.T + block.square().sum(1, keepdim=True)
        yield squared.clamp(min=0).sqrt().float()
