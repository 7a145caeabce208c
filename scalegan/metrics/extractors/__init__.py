"""Feature extractors, by name; nothing is ever downloaded."""

from pathlib import Path

import torch

import scalegan.metrics.extractors.efflite0 as efflite0
import scalegan.metrics.extractors.inception as inception
import scalegan.metrics.extractors.torchscript as torchscript
from scalegan.errors import UsageError
from scalegan.metrics.extractors.base import Extractor

NETWORKS = {"inception": inception, "efflite0": efflite0}


def load(name: str | None, weights: Path | None, how: str | None, device: torch.device) -> Extractor:
    """Loads an extractor.

    Args:
        name: inception, efflite0, the path of a TorchScript file, or None: inception if its weights are named (by
            `weights` or $SCALEGAN_WEIGHTS), else efflite0.
        weights: file with its weights.
        how: tf1-bilinear or clean; None for the network's default.

    Raises:
        UserError: if there is no such extractor, or its weights are missing.
    """
    if name is None:
        name = "inception" if inception.find_weights(weights) else "efflite0"
    if name.endswith((".pt", ".ts", ".jit")):
        if how is not None:
            raise UsageError(f"--resize {how}: a TorchScript extractor resizes by itself; leave --resize out")
        if weights is not None:
            raise UsageError(f"--weights {weights}: a TorchScript extractor has its own; leave --weights out")
        return torchscript.load(Path(name), device)
    network = NETWORKS.get(name.lower().replace("efficientnet-lite0", "efflite0"))
    if network is None:
        raise UsageError(f"there is no extractor '{name}'; use {', '.join(NETWORKS)} or a TorchScript file (.pt)")
    how = how or network.RESIZES[0]
    if how not in network.RESIZES:
        raise UsageError(f"there is no resize '{how}'; use {' or '.join(network.RESIZES)}")
    return network.load(weights, how, device)
