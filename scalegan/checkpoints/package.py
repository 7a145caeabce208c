"""Networks as a folder for others: the weights with their description (model.safetensors), the description alone
(config.json) and a model card (README.md). Nothing in it names a path of this machine."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from scalegan import __version__
from scalegan.checkpoints import exports, store
from scalegan.checkpoints.card import card
from scalegan.checkpoints.hub import CARD, CONFIG, WEIGHTS
from scalegan.support.files import write_whole


def write(networks: Mapping[str, nn.Module], folder: Path, *, repository: str | None = None,
          checkpoint: str | None = None, results: Sequence[Mapping[str, Any]] = (), before: str = "") -> None:
    """Writes a folder of loaded networks.

    Args:
        repository: USER/NAME, for the card's examples.
        checkpoint: digest of the run's whole checkpoint.
        results: the run's evaluations of these weights.
        before: the card that the new one replaces, which keeps what its author wrote about the licence; that in the
            folder comes first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    public = {name: _public(network) for name, network in networks.items()}
    exports.save(public, folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, "pt") as file:
        config = json.loads(file.metadata()["scalegan"])
        digest = store.digest({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 -- not a dict
    config = {"library_name": "scalegan", "scalegan_version": __version__, "digest": digest, **config}
    write_whole(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    if (folder / CARD).is_file():
        before = (folder / CARD).read_text(errors="replace")
    write_whole(folder / CARD, card(config, parameters, repository or folder.resolve().name, checkpoint,
                                    [_without_places(dict(row)) for row in results], before))


def _public(network: nn.Module) -> nn.Module:
    """The same network, described without what is private to this machine."""
    twin = copy.copy(network)
    twin.about = {**network.about, "recipe": {**_without_places(network.about["recipe"]), "run_dir": "-"}}
    return twin


def _without_places(value: Any) -> Any:
    """Keys and values with every path or URL reduced to its last part, without a query, user or password."""
    if isinstance(value, Mapping):
        return {key: _without_places(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_places(inner) for inner in value]
    if not isinstance(value, str) or not re.search(r"[/\\]", value):
        return value
    return re.split(r"[/\\]", re.split("[?#]", value)[0].rstrip("/\\"))[-1].rpartition("@")[2] or "-"
