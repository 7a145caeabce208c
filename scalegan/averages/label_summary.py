"""How a dataset's labels are distributed, small enough for the description of a checkpoint or an export."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scalegan.data.spec import Spec
from scalegan.data.vectors import VectorTable
from scalegan.randomness import Draws

if TYPE_CHECKING:
    from scalegan.data.captions import Captions

#: The number of records of each class; the attributes of some records, each as a hexadecimal number; or some vectors,
#: with `texts`, their `encoder`, and their float32 bytes, compressed and in base 64 (`vectors`).
Summary = list[int] | list[str] | dict[str, Any]
_ROWS = 1024
_TEXTS = 64


def summary(conditions: Tensor | VectorTable | None, spec: Spec, captions: "Captions | None" = None) -> Summary | None:
    """The summary of a dataset's labels.

    Args:
        conditions: classes int64 [N], attributes [N, K] or vectors of all records; None without labels.
        captions: of the vectors.
    """
    if isinstance(conditions, VectorTable):
        firsts = conditions.rows[:, 0].unique()
        chosen = firsts[torch.linspace(0, len(firsts) - 1, min(_TEXTS, len(firsts))).long()]
        rows = conditions.vectors[chosen].numpy()
        return {"vectors": base64.b64encode(zlib.compress(rows.tobytes())).decode(),
                "texts": [captions.texts[place] for place in chosen.tolist()] if captions else [],
                "encoder": dict(captions.encoder) if captions else {}}
    if conditions is None or not spec.num_classes:
        return None
    if not spec.multilabel:
        return torch.bincount(conditions, minlength=spec.classes).tolist()
    chosen = torch.linspace(0, len(conditions) - 1, min(_ROWS, len(conditions))).long()
    return [f"{int(''.join(map(str, row)), 2):x}" for row in conditions[chosen].int().tolist()]


def drawn(labels: Summary | None, spec: Spec, draws: Draws) -> Tensor | None:
    """Labels with the distribution of a summary, classes [n], attributes [n, K] or vectors [n, dim]; uniform classes
    without one."""
    if spec.vector_dim:
        rows = vectors_of(labels, spec).to(draws.positions.device)
        return rows[draws.integers("label", len(rows))]
    if not spec.num_classes:
        return None
    device = draws.positions.device
    if spec.multilabel:
        rows = torch.tensor([[int(bit) for bit in f"{int(row, 16):0{spec.attributes}b}"] for row in labels],
                            dtype=torch.float32, device=device)
        return rows[draws.integers("label", len(rows))]
    counts = torch.tensor(labels or [1] * spec.classes, device=device)
    return torch.searchsorted(counts.cumsum(0), draws.integers("label", int(counts.sum())).contiguous(), right=True)


def vectors_of(labels: Summary, spec: Spec) -> Tensor:
    """The vectors in a summary, float32 [n, dim]. Raises ValueError if it has none of that length."""
    content = zlib.decompress(base64.b64decode(labels["vectors"]))
    return torch.frombuffer(bytearray(content), dtype=torch.float32).view(-1, spec.vector_dim)


def having(labels: Summary | None, spec: Spec, values: Mapping[int, float]) -> Summary | None:
    """The summary of the records among these that have some attributes (1) and lack others (0), by number; of all if
    none do. Values between say nothing."""
    asked = {number: str(round(value)) for number, value in values.items() if value in (0, 1)}
    rows = [row for row in labels or () if all(f"{int(row, 16):0{spec.attributes}b}"[number] == bit
                                               for number, bit in asked.items())]
    return rows or labels


def with_attributes(labels: Summary | None, spec: Spec, seeds: Sequence[int], chosen: Sequence[int]) -> Tensor:
    """Attributes [n, K] for samples of these seeds: those of a record of the data each, and the chosen ones besides.
    Without a summary, all others are 0."""
    found = torch.zeros(len(seeds), spec.attributes)
    if labels:
        found = drawn(labels, spec, Draws(0, 0, "sample", torch.tensor(seeds)))
    found[:, chosen] = 1
    return found
