"""A small game for each family, and batches for it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from scalegan.augment import Augment
from scalegan.augment.levels import NoisyLevels
from scalegan.checkpoints import exports
from scalegan.checkpoints.stored_weights import LIVE
from scalegan.config import loading
from scalegan.config.game import streams_of
from scalegan.data.spec import Spec
from scalegan.games import lookup
from scalegan.games.aae.game import AAE
from scalegan.games.avb.game import AVB
from scalegan.games.base import Batch, Game, Sample
from scalegan.games.bigan.game import BiGAN
from scalegan.games.fakes import StyledFakes, every_level
from scalegan.games.gan.game import GAN
from scalegan.games.infogan.game import InfoGAN
from scalegan.games.penalties.finite_difference import FiniteDifferences, Probe
from scalegan.games.penalties.gradient_norm import R1R2Penalty
from scalegan.games.penalties.orthogonal import Orthogonal
from scalegan.games.penalties.path_length import PathLength
from scalegan.games.text_to_image.game import TextToImage
from scalegan.losses import LOSSES
from scalegan.models import biggan, biggan_deep, dcgan, gat, r3gan, stylegan2, text_dcgan
from scalegan.randomness import Draws, parameter_generators
from scalegan.training import build

SAMPLES, CLASSES = 8, 3
_GAT = {"patch": 8, "depth": 2, "width": 16, "heads": 2, "num_classes": CLASSES}


class Witness(torch.optim.SGD):
    """Records the gradients and leaves the weights unchanged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network.parameters(), lr=0.0)

    def step(self, closure=None) -> None:
        self.found = [p.grad.clone() for p in self.param_groups[0]["params"]]


def leave_zero(game: Game) -> None:
    """Gives a game initial weights none of which is zero, the same each time."""
    seeded = torch.Generator().manual_seed(7)
    for player, network in game.players.items():
        network.initialise(parameter_generators(1, player))
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=seeded)


def networks(family: str) -> tuple[nn.Module, nn.Module]:
    """A small generator and discriminator, class-conditional except for DCGAN, or of texts; no parameter is zero."""
    made = {
        "dcgan": lambda: (dcgan.Generator(32, width=8, latent_dim=12, norm_group="batch"),
                          dcgan.Discriminator(32, width=8, norm_group="batch")),
        "text_dcgan": lambda: (text_dcgan.Generator(32, width=8, latent_dim=12, vector_dim=7, text_dim=6, norm_group=4),
                               text_dcgan.Discriminator(32, width=8, vector_dim=7, text_dim=6, norm_group=4)),
        "biggan": lambda: (biggan.Generator(32, width=8, latent_dim=12, num_classes=CLASSES, norm_group="batch",
                                            shared_dim=6, hierarchical=True, attention=(16,)),
                           biggan.Discriminator(32, width=8, num_classes=CLASSES, attention=(16,))),
        "biggan_deep": lambda: (biggan_deep.Generator(32, width=8, latent_dim=12, num_classes=CLASSES, shared_dim=6,
                                                      norm_group="batch", attention=(16,)),
                                biggan_deep.Discriminator(32, width=8, num_classes=CLASSES, attention=(16,))),
        "stylegan2": lambda: (stylegan2.Generator(32, channel_base=256, channel_max=16, latent_dim=16, w_dim=16,
                                                  num_classes=CLASSES, mapping_layers=2),
                              stylegan2.Discriminator(32, channel_base=256, channel_max=16, num_classes=CLASSES,
                                                      mapping_layers=2)),
        "r3gan": lambda: (r3gan.Generator(32, width=16, cardinality=4, latent_dim=8, num_classes=CLASSES),
                          r3gan.Discriminator(32, width=16, cardinality=4, num_classes=CLASSES)),
        "gat": lambda: (gat.Generator((3, 32, 32), **_GAT, latent_dim=8, outputs=2),
                        gat.Discriminator((3, 32, 32), **_GAT, label_dim=6, levels=2)),
    }[family]()
    for network in made:
        seeded = torch.Generator().manual_seed(7)
        network.initialise(parameter_generators(1, type(network).__module__ + type(network).__qualname__))
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=seeded)
    return made


def game_of(family: str, generator: nn.Module, discriminator: nn.Module) -> GAN:
    common = {
        "dcgan": {"loss": LOSSES["non_saturating"]},
        "text_dcgan": {"loss": LOSSES["non_saturating"]},
        "biggan": {"loss": LOSSES["hinge"], "penalties": {"orthogonal": Orthogonal(1e-2)}},
        "biggan_deep": {"loss": LOSSES["hinge"], "penalties": {"orthogonal": Orthogonal(1e-2)}},
        "stylegan2": {"loss": LOSSES["non_saturating"], "fakes_of": StyledFakes(0.0), "order": ("G", "D"),
                      "fresh_batch": ("G",),
                      "penalties": {"r1": R1R2Penalty("real", 3.0, 16), "path_length": PathLength(2.0, 0.99, 4)}},
        "r3gan": {"loss": LOSSES["relativistic"], "fresh_batch": ("D", "G"),
                  "penalties": {"r1": R1R2Penalty("real", 5.0), "r2": R1R2Penalty("fake", 7.0)}},
        "gat": {"loss": LOSSES["relativistic"], "augment": NoisyLevels(Augment(), 2), "fakes_of": every_level,
                "penalties": {"fd": FiniteDifferences({"real": Probe(5.0, 0.1), "fake": Probe(7.0, 0.1)})}},
    }[family]
    return (TextToImage if family == "text_dcgan" else GAN)(generator, discriminator, **common)


def batch_of(family: str, phase: str) -> Batch:
    draws = Draws(3, 0, phase, torch.arange(SAMPLES))
    reals = draws.normal("real", 3, 32, 32).clamp(-1, 1)
    if family == "text_dcgan":
        return Batch.of(reals, draws, draws.normal("text", 7), draws.normal("other text", 7))
    labels = None if family == "dcgan" else torch.arange(SAMPLES) % CLASSES
    return Batch.of(reals, draws, labels, labels)


def batch_for(specs: Mapping[str, Spec], draws: Draws) -> Batch:
    """Noise for every stream of a game; conditions of fakes differ from those of reals."""
    streams, given = {}, {}
    for name, spec in specs.items():
        conditions = [None, None]
        if spec.conditional:
            conditions = [_conditions(spec, draws, f"label{i}") for i in range(2)]
            given[name] = conditions[1]
        streams[name] = Sample(draws.normal(name, *spec.shape).clamp(-1, 1), conditions[0])
    return Batch(streams, draws, given=given)


def _conditions(spec: Spec, draws: Draws, name: str) -> Tensor:
    if spec.vector_dim:
        vectors = draws.normal(name, spec.vector_dim)
        return vectors / vectors.norm(dim=1, keepdim=True)
    return draws.integers(name, 2, spec.attributes) if spec.attributes else draws.integers(name, spec.classes)


def infogan() -> InfoGAN:
    """A small InfoGAN at 16 px, with a categorical code of five values and a continuous one."""
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16},
                            "model": {"name": "dcgan", "width": 4, "latent_dim": 8, "norm_group": 16},
                            "game": {"name": "infogan", "categories": [5], "continuous": 1, "hidden": 6}}, "test")
    return InfoGAN.make(recipe, {"real": Spec("image", (3, 16, 16))})


def aae(model: Mapping[str, object] | None = None, **keys: object) -> AAE:
    """A small adversarial autoencoder at 16 px with three codes; with `semi_supervised`, beside one of four classes."""
    streams = {"labelled": {"path": "-", "labels": "class"}} if keys.get("semi_supervised") else {}
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16},
                            "model": model or {"name": "mlp", "hidden": 12, "layers": 2, "latent_dim": 3},
                            "optimizer": {"default": {}}, "streams": streams,
                            "game": {"name": "aae", "hidden": 10, "weight": 3.0, **keys}}, "test")
    spec = Spec("image", (3, 16, 16), classes=4 if streams else 0)
    return AAE.make(recipe, {"real": spec, **dict.fromkeys(streams, spec)})


def avb(**keys: object) -> AVB:
    """A small adversarial variational Bayes at 16 px with three codes and two noises."""
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": 16},
                            "model": {"name": "mlp", "hidden": 12, "layers": 1, "latent_dim": 3},
                            "optimizer": {"default": {}},
                            "game": {"name": "avb", "hidden": 10, "noise_dim": 2, **keys}}, "test")
    return AVB.make(recipe, {"real": Spec("image", (3, 16, 16))})


_DCGAN = {"name": "dcgan", "width": 4, "latent_dim": 8, "norm_group": 4}
# Games with labels: keys of a recipe, and what the samples of its streams are.
CONDITIONAL: dict[str, tuple[dict, dict[str, Spec]]] = {
    "AC-GAN": ({"game": {"name": "acgan", "fakes_weight": 0.5}, "model": _DCGAN, "data": {"labels": "class"}},
               {"real": Spec("image", (3, 16, 16), classes=CLASSES)}),
    "AC-GAN of attributes": ({"game": {"name": "acgan", "loss": "minimax", "class_weight": 0.5}, "model": _DCGAN,
                              "data": {"labels": "attributes"}}, {"real": Spec("image", (3, 16, 16), attributes=5)}),
    "AC-GAN of the paper": ({"game": {"name": "acgan", "networks": "paper"},
                             "model": {"name": "dcgan", "latent_dim": 8, "norm_group": 4},
                             "data": {"labels": "class", "resolution": 32}},
                            {"real": Spec("image", (3, 32, 32), classes=CLASSES)}),
    "CGAN": ({"game": {"name": "cgan"}, "data": {"labels": "class"}},
             {"real": Spec("image", (1, 16, 16), classes=CLASSES)}),
    "CGAN with attributes and R1": (
        {"game": {"name": "cgan", "loss": "minimax", "penalties": {"r1": {"gamma": 0.1, "every": 2}}},
         "data": {"labels": "attributes"}}, {"real": Spec("image", (1, 16, 16), attributes=5)}),
    "semi-supervised": ({"game": {"name": "ssgan", "group": 4}, "model": _DCGAN, "data": {"labels": "class"},
                         "streams": {"labelled": {"path": "-", "labels": "class"}}},
                        dict.fromkeys(("real", "labelled"), Spec("image", (3, 16, 16), classes=CLASSES))),
    "semi-supervised, of the published code": (
        {"game": {"name": "ssgan", "networks": "dense", "unlabelled_weight": 0.5, "group": 2},
         "data": {"labels": "none"}, "streams": {"labelled": {"path": "-", "labels": "class"}}},
        {"real": Spec("image", (1, 8, 8)), "labelled": Spec("image", (1, 8, 8), classes=CLASSES)}),
    "InfoGAN": ({"game": {"name": "infogan", "categories": [5, 3], "continuous": 1, "hidden": 6}, "model": _DCGAN,
                 "data": {}}, {"real": Spec("image", (3, 16, 16))}),
    "InfoGAN, Q learning with D": (
        {"game": {"name": "infogan", "categories": [5], "continuous": 2, "hidden": 6, "weight": 0.5,
                  "fixed_deviation": True, "learns_with": "D"}, "model": _DCGAN, "data": {}},
        {"real": Spec("image", (3, 16, 16))}),
}

STARGAN = {"name": "stargan", "width": 2, "blocks": 1, "d_width": 2}
# Games of several levels or domains, in the same form.
_MNIST_SIZE = {"resolution": 28}
COUPLED: dict[str, tuple[dict, dict[str, Spec]]] = {
    "LAPGAN": ({"game": {"name": "lapgan", "levels": 2, "width": 4, "base_hidden": 20}, "data": {}},
               {"real": Spec("image", (3, 16, 16))}),
    "CoGAN": ({"game": {"name": "cogan", "width": 16, "norm_group": 4, "second": "negative"}, "data": _MNIST_SIZE,
               "streams": {"second": {"path": "-", **_MNIST_SIZE}}},
              dict.fromkeys(("first", "second"), Spec("image", (1, 28, 28)))),
    "CoGAN that adapts": ({"game": {"name": "cogan", "width": 16, "norm_group": 4, "adaptation": True,
                                    "half_loss": True}, "data": {**_MNIST_SIZE, "labels": "class"},
                           "streams": {"second": {"path": "-", **_MNIST_SIZE}}},
                          {"first": Spec("image", (1, 28, 28), classes=CLASSES),
                           "second": Spec("image", (3, 28, 28))}),
    "StarGAN": ({"game": {"name": "stargan", "attributes": ["d", "b"]}, "model": STARGAN,
                 "optimizer": {"default": {}}, "data": {"labels": "attributes"}},
                {"real": Spec("image", (3, 16, 16), attributes=4, label_names=tuple("abcd"))}),
    "StarGAN of classes": ({"game": {"name": "stargan"}, "model": STARGAN, "optimizer": {"default": {}},
                            "data": {"labels": "class"}}, {"real": Spec("image", (3, 16, 16), classes=CLASSES)}),
}
COUPLED |= {
    "SimGAN": ({"game": {"name": "simgan", "width": 4, "blocks": 1, "pool": 20, "self_regularisation": 3}, "data": {},
                "streams": {"real": {"path": "-"}}},
               dict.fromkeys(("simulated", "real"), Spec("image", (1, 16, 16)))),
    "PixelDA": ({"game": {"name": "pixelda", "width": 4, "blocks": 1, "noise_dim": 5, "task": 2, "norm_group": 4},
                 "data": {"labels": "class"}, "streams": {"target": {"path": "-"}}},
                {"source": Spec("image", (1, 16, 16), classes=CLASSES), "target": Spec("image", (1, 16, 16))}),
}

COUPLED["SRGAN"] = (
    {"game": {"name": "srgan", "pretraining": 16, "crop": 16, "degrade": {"blur": 1, "noise": 5, "jpeg": 50}},
     "model": {"name": "srresnet", "width": 4, "blocks": 1, "norm_group": 4, "d_width": 2}, "data": {"resolution": 24}},
    {"real": Spec("image", (3, 24, 24))})

_IMAGES = {"real": Spec("image", (3, 16, 16))}
# Games against collapse, in the same form.
AGAINST_COLLAPSE: dict[str, tuple[dict, dict[str, Spec]]] = {
    "DeLiGAN": ({"game": {"tricks": {"latent_mixture": {"components": 5, "weight": 0.7}}}, "model": _DCGAN,
                 "data": {}}, _IMAGES),
    "MAD-GAN": ({"game": {"name": "madgan", "generators": 3}, "model": _DCGAN, "data": {}}, _IMAGES),
    "MAD-GAN as printed": ({"game": {"name": "madgan", "generators": 3, "loss": "minimax"}, "model": _DCGAN,
                            "data": {}}, _IMAGES),
    "consensus": ({"game": {"name": "consensus", "gamma": 0.1}, "model": _DCGAN, "data": {"labels": "class"}},
                  {"real": Spec("image", (3, 16, 16), classes=CLASSES)}),
}

# Games of faces with attributes, in the same form.
FACES: dict[str, tuple[dict, dict[str, Spec]]] = {
    "iterative GAN": ({"game": {"name": "iterative", "width": 2, "hidden": 6, "norm_group": 4,
                                "adaptive_updates": None}, "data": {"labels": "attributes", "resolution": 32}},
                      {"real": Spec("image", (3, 32, 32), attributes=5)}),
}


# Games of volumes, in the same form.
VOLUMES: dict[str, tuple[dict, dict[str, Spec]]] = {
    "3D-GAN": ({"game": {"name": "gan3d", "width": 3, "latent_dim": 5, "norm_group": 4}, "data": {}},
               {"real": Spec("volume", (1, 16, 16, 16))}),
    "3D-VAE-GAN": ({"game": {"name": "gan3d", "width": 3, "latent_dim": 5, "norm_group": 4, "latent": "normal",
                             "encoder": {"width": 2, "divergence": 0.5, "reconstruction": 0.3}}, "data": {}},
                   {"real": Spec("volume", (1, 16, 16, 16))}),
}


_TEXT_DCGAN = {"name": "text_dcgan", "width": 8, "d_width": 8, "text_dim": 6, "latent_dim": 5, "norm_group": 4}
_OF_TEXTS = {"real": Spec("image", (3, 16, 16), vector_dim=7)}
# Games of texts, in the same form.
TEXTS: dict[str, tuple[dict, dict[str, Spec]]] = {
    "text to image": ({"game": {"name": "text_to_image"}, "model": _TEXT_DCGAN, "data": {"labels": "vectors"}},
                      _OF_TEXTS),
    "with conditioning augmentation": (
        {"game": {"name": "text_to_image", "conditioning_augmentation": {"dim": 3}}, "model": _TEXT_DCGAN,
         "data": {"labels": "vectors"}}, _OF_TEXTS),
    "neither mismatched nor interpolated": (
        {"game": {"name": "text_to_image", "matching_aware": False, "interpolated": 0},
         "model": {**_DCGAN, "width": 8}, "data": {"labels": "vectors"}}, _OF_TEXTS),
    "of R3GAN": (
        {"game": {"name": "text_to_image", "loss": "relativistic",
                  "penalties": {"r1": {"gamma": 1}, "r2": {"gamma": 1}}},
         "model": {"name": "r3gan", "width": 8, "cardinality": 2, "latent_dim": 5}, "data": {"labels": "vectors"}},
        _OF_TEXTS),
    "StyleGAN2 of vectors": (
        {"game": {"penalties": {"r1": {"gamma": 1, "every": 2}}},
         "model": {"name": "stylegan2", "channel_max": 8, "latent_dim": 5, "w_dim": 6, "mapping_layers": 2},
         "data": {"labels": "vectors"}}, _OF_TEXTS),
}


def texts(name: str) -> tuple[Game, dict[str, Spec]]:
    """One of the games of texts, and the specs of its streams."""
    return _made(*TEXTS[name])


def volumes(name: str, **keys: object) -> tuple[Game, dict[str, Spec]]:
    """One of the games of volumes, with further keys under `game`, and the specs of its streams."""
    recipe, specs = VOLUMES[name]
    return _made({**recipe, "game": {**recipe["game"], **keys}}, specs)


def conditional(name: str) -> tuple[Game, dict[str, Spec]]:
    """One of the games with labels or against collapse, and the specs of its streams."""
    return _made(*(CONDITIONAL | AGAINST_COLLAPSE)[name])


def coupled(name: str) -> tuple[Game, dict[str, Spec]]:
    """One of the games of several levels or domains, and the specs of its streams."""
    return _made(*COUPLED[name])


def faces(name: str, **keys: object) -> tuple[Game, dict[str, Spec]]:
    """One of the games of faces, with further keys under `game`, and the specs of its streams."""
    recipe, specs = FACES[name]
    return _made({**recipe, "game": {**recipe["game"], **keys}}, specs)


def _made(keys: dict, specs: dict[str, Spec]) -> tuple[Game, dict[str, Spec]]:
    data = {"path": "-", "resolution": 16, **keys["data"]}
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "batch_size": 2 * SAMPLES, "micro_batch_size": 4,
                            "lanes": 4, **keys, "data": data}, "test")
    assert list(streams_of(recipe)) == list(specs)
    return lookup.game_of(recipe.game.name).make(recipe, specs), specs


def exported(keys: Mapping[str, object], path: Path, spec: Spec, factor: float = 1.0, only: Sequence[str] = (),
             **about: object) -> Path:
    """Exports the untrained networks of a recipe, all or some of them.

    Args:
        spec: of each stream.
        factor: of the weights, so that answers are not all the same grey.
        about: more of what the file says.
    """
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "batch_size": 8, "optimizer": {"default": {}}, **keys,
                            "data": {"path": "-", "resolution": spec.shape[1], **keys.get("data", {})}}, "test")
    specs = dict.fromkeys(streams_of(recipe), spec)
    torch.manual_seed(0)
    game = lookup.game_of(recipe.game.name).make(recipe, specs)
    for parameter in game.parameters():
        parameter.data *= factor
    described = exports.described(asdict(recipe), specs, game, images=0, seed=0, **about)
    networks = {}
    for name, export in game.exports.items():
        live = [LIVE * (player in game.averaged and not export.averaged) for player in export.players]
        parts = {f"{player}{suffix}": copy.deepcopy(game.players[player]).eval()
                 for player, suffix in zip(export.players, live)}
        networks[name] = exports.attach(game.compose(export, list(parts.values())), parts, described, name)
    exports.save({name: networks[name] for name in only or networks}, path)
    return path


def bigan(shape: tuple[int, int, int] = (1, 4, 4), **keys: object) -> BiGAN:
    """A small BiGAN with a stochastic encoder, unless `keys` of the game say otherwise; no weight is small."""
    return _with_encoder({"name": "bigan", "hidden": 12, "latent_dim": 5, "norm_group": 8, "encoder": "stochastic",
                          **keys}, shape, 20)


def ali(**keys: object) -> BiGAN:
    """A small ALI at 32 px; no weight is small."""
    return _with_encoder({"name": "ali", "width": 2, "latent_dim": 3, "norm_group": 4, **keys}, (3, 32, 32), 10)


def _with_encoder(keys: Mapping[str, object], shape: tuple[int, int, int], factor: float) -> BiGAN:
    recipe = loading.parse({"run_dir": "-", "total_images": 1, "data": {"path": "-", "resolution": shape[1]},
                            "game": dict(keys)}, "test")
    game = build.game(recipe, {"real": Spec("image", shape)})
    for parameter in game.parameters():
        parameter.data *= factor
    return game
