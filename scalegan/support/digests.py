"""Digests of networks."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def digest_of(network: "nn.Module") -> str:
    """SHA-256 of the names, types, shapes and bytes of a network's state: the same for other files with these."""
    import torch

    hasher = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        hasher.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        hasher.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()
