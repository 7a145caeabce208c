"""Small untrained generators of every family and game, as `scalegan.load` returns them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scalegan.checkpoints import exports
from scalegan.config import loading
from scalegan.data.spec import Spec
from scalegan.games import lookup

_DCGAN = {"name": "dcgan", "width": 4, "latent_dim": 12, "norm_group": 4}
_MLP = {"name": "mlp", "hidden": 12, "layers": 2, "latent_dim": 6}
_STREAMS = {"streams": {"labelled": {"path": "-", "labels": "class"}}, "optimizer": {"default": {}}}
_DEFAULT = {"optimizer": {"default": {}}}

# Keys of a recipe; side and classes of its images; and how its samples are interpolated.
GENERATORS: dict[str, tuple[dict[str, Any], int, int, str]] = {
    "DCGAN": ({"model": {**_DCGAN, "latent": "normal"}}, 16, 0, "great circle"),
    "DCGAN with classes": ({"model": {**_DCGAN, "latent": "normal"}, "data": {"labels": "class"}}, 16, 3,
                           "great circle"),
    "DCGAN of uniform z": ({"model": {**_DCGAN, "latent": "uniform"}}, 16, 0, "line"),
    "BigGAN": ({"model": {"name": "biggan", "width": 4, "latent_dim": 8}, "data": {"labels": "class"}}, 32, 3,
               "great circle"),
    "BigGAN-deep": ({"model": {"name": "biggan_deep", "width": 4, "latent_dim": 8, "shared_dim": 6},
                     "data": {"labels": "class"}}, 32, 3, "great circle"),
    "StyleGAN2": ({"model": {"name": "stylegan2", "channel_base": 128, "channel_max": 8, "latent_dim": 12, "w_dim": 10,
                             "mapping_layers": 2}}, 16, 0, "line"),
    "R3GAN": ({"model": {"name": "r3gan", "width": 8, "cardinality": 2, "latent_dim": 12}}, 16, 0, "great circle"),
    "InfoGAN of uniform noise": ({"model": {**_DCGAN, "latent": "uniform"},
                                  "game": {"name": "infogan", "categories": [3], "continuous": 2, "hidden": 6}},
                                 16, 0, "line"),
    "InfoGAN of normal noise": ({"model": {**_DCGAN, "latent": "normal"},
                                 "game": {"name": "infogan", "categories": [3], "continuous": 2, "hidden": 6}},
                                16, 0, "great circle, but for the codes"),
    "AC-GAN": ({"model": {**_DCGAN, "latent": "normal"}, "game": {"name": "acgan"}, "data": {"labels": "class"}}, 16, 3,
               "great circle"),
    "BiGAN": ({"game": {"name": "bigan", "hidden": 12, "latent_dim": 9, "norm_group": 4}}, 8, 0, "line"),
    "ALI": ({"game": {"name": "ali", "width": 2, "latent_dim": 9, "norm_group": 4}}, 32, 0, "great circle"),
    "AAE": ({"model": _MLP, "game": {"name": "aae", "hidden": 8}, **_DEFAULT}, 16, 0, "great circle"),
    "AAE of a mixture": ({"model": {**_MLP, "latent_dim": 2}, "game": {"name": "aae", "hidden": 8, "prior": "mixture"},
                          **_DEFAULT}, 16, 0, "line"),
    "AAE with classes": ({"model": _MLP, "game": {"name": "aae", "hidden": 8, "semi_supervised": True}, **_STREAMS},
                         16, 3, "great circle, but for the codes"),
    "AVB": ({"model": _MLP, "game": {"name": "avb", "hidden": 8, "noise_dim": 2}, **_DEFAULT}, 16, 0, "great circle"),
}
# Not in the table: most tests of all its rows would ask nothing of GAT that they do not ask of the others.
GAT = ({"model": {"name": "gat", "depth": 2, "width": 16, "heads": 2, "patch": 8, "outputs": 2, "latent_dim": 6},
        "data": {"labels": "class"}}, 16, 3, "")


def networks(name: str) -> dict[str, nn.Module]:
    """A game's generator, and its encoder if it has one, by name."""
    keys, side, classes, _ = GENERATORS[name]
    data = {"path": "-", "resolution": side, **keys.get("data", {})}
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "batch_size": 16, "micro_batch_size": 4, "lanes": 4,
                            **keys, "data": data}, name)
    names = tuple("abc"[:classes])
    specs = {stream: Spec("image", (3, side, side), classes=classes if "labels" in data or stream != "real" else 0,
                          label_names=names) for stream in ["real", *keys.get("streams", {})]}
    torch.manual_seed(0)
    game = lookup.game_of(recipe.game.name).make(recipe, specs)
    for parameter in game.parameters():
        if parameter.numel() > 1 and parameter.std() < 0.05:      # so that images of the untrained network differ
            parameter.data += 0.3 * torch.randn(parameter.shape)
    about = exports.described(asdict(recipe), specs, game, images=0, seed=0)
    made = {}
    for export in [game.default, *(["encode"] if "encode" in game.exports else [])]:
        parts = {player: game.players[player].eval() for player in game.exports[export].players}
        network = game.compose(game.exports[export], list(parts.values())).eval().requires_grad_(False)
        made[export] = exports.attach(network, parts, about, export)
    return made


def generator(name: str) -> nn.Module:
    return next(iter(networks(name).values()))


def saved(name: str, path: Path) -> Path:
    """The same as an export."""
    exports.save(networks(name), path)
    return path
