"""Builds the networks of every family from the recipe's `model`."""

import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scalegan import config
from scalegan.data.spec import Spec
from scalegan.errors import RecipeError
from scalegan.models import autoencoder, biggan, biggan_deep, dcgan, efflite0, gat, mlp, r3gan, stylegan2, text_dcgan
from scalegan.models.backbone import Backbone
from scalegan.support.resolution import base_of

Build = Callable[[], nn.Module]


def build(model: config.Model, spec: Spec) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of the recipe's family.

    Raises:
        RecipeError: for a resolution, labels or widths that the family does not support.
    """
    try:
        generator, discriminator = _FAMILIES[model.name](model, spec)
        return _with_output(generator(), spec), discriminator()
    except ValueError as error:
        raise RecipeError(f"model.name={model.name}: {error}") from error


def _with_output(generator: nn.Module, spec: Spec) -> nn.Module:
    """A generator whose output fits the samples: latents are not bounded, so it then ends without the tanh."""
    layers = getattr(generator, "layers", None)
    if spec.kind == "latent" and isinstance(layers, nn.Sequential) and isinstance(layers[-1], nn.Tanh):
        layers[-1] = nn.Identity()
    elif spec.kind == "latent" and hasattr(generator, "bounded"):
        generator.bounded = False
    return generator


def energy(model: config.Model, spec: Spec) -> nn.Module:
    """The auto-encoder that energy-based GANs use as D, at the sizes of the recipe's family.

    Raises:
        RecipeError: if the family has none.
    """
    try:
        if model.name == "mlp":
            return autoencoder.dense(spec.shape, model.hidden, model.layers, model.latent_dim)
        if model.name == "dcgan":
            channels, *sides = spec.shape
            if (model.norm, model.activation) != ("both", "published"):
                raise ValueError("an auto-encoder as D has BatchNorm and LeakyReLU; leave out model.norm and "
                                 "model.activation")
            return autoencoder.convolutional(sides, channels, model.width, model.norm_group)
    except ValueError as error:
        raise RecipeError(f"model.name={model.name}: {error}") from error
    raise RecipeError(f"model.name={model.name} has no auto-encoder for an energy-based game; use dcgan or mlp")


def generator(model: config.Model, spec: Spec) -> nn.Module:
    """The generator alone: a family may support more sizes than it has discriminators for."""
    return _with_output(_one(model, spec, 0), spec)


def discriminator(model: config.Model, spec: Spec) -> nn.Module:
    """The discriminator alone, for games that give the players different labels."""
    return _one(model, spec, 1)


def transport(model: config.Model, spec: Spec) -> nn.Module:
    """A generator whose z is noise of the samples' own shape, flattened, which it moves to a sample.

    Raises:
        RecipeError: if the family has none.
    """
    if model.name != "gat":
        raise RecipeError(f"model.name={model.name} does not take noise of the samples' shape; use gat")
    try:
        return _gat(model, spec)[0](noise_tokens=True)
    except ValueError as error:
        raise RecipeError(f"model.name={model.name}: {error}") from error


def backbone(name: str, size: int) -> Backbone:
    """A frozen network: the packaged EfficientNet-Lite0, its other weights from a .safetensors file, or a TorchScript
    file's.

    Raises:
        RecipeError: without the packages, or for a file that is missing or something else.
    """
    key = f"game.tricks.alignment.backbone={name}"
    file = None if name == "efficientnet_lite0" else Path(name)
    if file and not file.is_file():
        raise RecipeError(f"{key}: there is no such file; name a TorchScript or .safetensors file, or "
                          "efficientnet_lite0")
    try:
        if file is None or file.suffix == ".safetensors":
            return Backbone(efflite0.Features(file), size, normalised=False)
        with warnings.catch_warnings():         # torch deprecates TorchScript
            warnings.simplefilter("ignore", FutureWarning)
            return Backbone(torch.jit.load(name, map_location="cpu"), size, normalised=True)
    except ImportError:
        raise RecipeError(f"{key} needs packages that are not installed: pip install 'scalegan[metrics]'") from None
    except ValueError as error:
        raise RecipeError(f"{key}: {error}") from None
    except RuntimeError as error:
        raise RecipeError(f"{key}: not a TorchScript file ({str(error).splitlines()[0]}); save the network with "
                          "torch.jit.save") from None


def drop_last_bias(discriminator: nn.Module) -> None:
    """Removes the bias of D's last layer, before the networks are initialised; some families have none."""
    for name in ("head", "out", "linear"):
        layer = getattr(discriminator, name, None)
        if getattr(layer, "bias", None) is not None:
            layer.bias = None


def fuse_attention(network: nn.Module) -> None:
    """Lets attention use fused kernels, in families that have a choice: nothing differentiates the network twice."""
    for module in network.modules():
        if hasattr(module, "fused"):
            module.fused = True


def _one(model: config.Model, spec: Spec, player: int) -> nn.Module:
    try:
        return _FAMILIES[model.name](model, spec)[player]()
    except ValueError as error:
        raise RecipeError(f"model.name={model.name}: {error}") from error


def _dcgan(model: config.DCGAN, spec: Spec) -> tuple[Build, Build]:
    sizes = {**_image(spec), "multilabel": _in_rows(spec), "width": model.width, "norm_group": model.norm_group}
    in_g, in_d = ("relu", "leaky_relu") if model.activation == "published" else [model.activation] * 2
    return (partial(dcgan.Generator, latent_dim=model.latent_dim, latent=model.latent, virtual=model.virtual_batch,
                    norm=model.norm != "none", activation=in_g, **sizes),
            partial(dcgan.Discriminator, norm=model.norm == "both", activation=in_d, **sizes))


def _text_dcgan(model: config.TextDCGAN, spec: Spec) -> tuple[Build, Build]:
    if not spec.vector_dim:
        raise ValueError("the samples have no vectors that describe them; set data.labels=vectors, or another model")
    channels, *sides = spec.shape
    both = {"resolution": min(sides), "base": base_of(*sides), "channels": channels, "vector_dim": spec.vector_dim,
            **_only(model, "text_dim", "norm_group")}
    return (partial(text_dcgan.Generator, width=model.width, **both, **_only(model, "latent_dim", "latent")),
            partial(text_dcgan.Discriminator, width=model.d_width, **both))


def _mlp(model: config.MLP, spec: Spec) -> tuple[Build, Build]:
    sizes = {"shape": spec.shape, "hidden": model.hidden, "layers": model.layers, "num_classes": _labels(spec),
             "multilabel": _in_rows(spec)}
    return (partial(mlp.Generator, latent_dim=model.latent_dim, latent=model.latent, **sizes),
            partial(mlp.Discriminator, **sizes))


def _biggan(model: config.BigGAN, spec: Spec) -> tuple[Build, Build]:
    both = {**_image(spec), **_only(model, "width", "attention", "init", "sn_eps")}
    own = _only(model, "latent_dim", "latent", "shared_dim", "hierarchical", "norm_group", "spectral", "bn_eps")
    return partial(biggan.Generator, **both, **own), partial(biggan.Discriminator, **both)


def _biggan_deep(model: config.BigGANDeep, spec: Spec) -> tuple[Build, Build]:
    both = {**_image(spec), **_only(model, "width", "depth", "attention", "init", "sn_eps")}
    own = _only(model, "latent_dim", "latent", "shared_dim", "norm_group", "spectral", "bn_eps")
    return partial(biggan_deep.Generator, **both, **own), partial(biggan_deep.Discriminator, **both)


def _stylegan2(model: config.StyleGAN2, spec: Spec) -> tuple[Build, Build]:
    both = {**_image(spec), **_only(model, "mapping_layers", "mapping_lr_multiplier", "channel_base", "channel_max",
                                    "num_half_res", "conv_clamp")}
    discriminator = {**both, **_only(model, "architecture", "mbstd_group"),
                     "mapping_layers": model.d_mapping_layers or model.mapping_layers}
    return (partial(stylegan2.Generator, **both, **_only(model, "latent_dim", "w_dim", "w_avg_beta")),
            partial(stylegan2.Discriminator, **discriminator))


def _r3gan(model: config.R3GAN, spec: Spec) -> tuple[Build, Build]:
    both = {**_image(spec), **_only(model, "width", "full_width_until", "cardinality", "blocks", "widths",
                                    "cardinalities", "expansion", "kernel")}
    return (partial(r3gan.Generator, **both, **_only(model, "latent_dim", "latent", "embedding_dim")),
            partial(r3gan.Discriminator, **both))


def _gat(model: config.GAT, spec: Spec) -> tuple[Build, Build]:
    if len(spec.shape) != 3:
        raise ValueError("it makes images or latents; use model.name=mlp for points")
    sizes = {key: value if chosen is None else chosen for key, value, chosen in
             zip(("depth", "width", "heads"), gat.SIZES[model.size], (model.depth, model.width, model.heads))}
    both = {"shape": spec.shape, "patch": model.patch, "num_classes": _labels(spec), "multilabel": _in_rows(spec),
            **sizes}
    return (partial(gat.Generator, **both, **_only(model, "outputs", "latent_dim", "w_avg_beta")),
            partial(gat.Discriminator, **both, levels=model.outputs, label_dim=model.label_dim))


_FAMILIES = {"dcgan": _dcgan, "text_dcgan": _text_dcgan, "mlp": _mlp, "biggan": _biggan, "biggan_deep": _biggan_deep,
             "stylegan2": _stylegan2, "r3gan": _r3gan, "gat": _gat}


def _image(spec: Spec) -> dict[str, Any]:
    channels, *sides = spec.shape
    return {"resolution": min(sides), "base": base_of(*sides), "channels": channels, "num_classes": _labels(spec)}


def _labels(spec: Spec) -> int:
    """Number of classes or attributes, or length of vectors: their linear maps are those of attributes."""
    return spec.num_classes or spec.vector_dim


def _in_rows(spec: Spec) -> bool:
    """Whether labels are rows [N, K], attributes or vectors, not indices [N]."""
    return spec.multilabel or spec.vector_dim > 0


def _only(model: config.Model, *names: str) -> dict[str, object]:
    return {name: value for name, value in asdict(model).items() if name in names}
