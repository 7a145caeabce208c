"""Published networks from image to image in ours, against the networks written out: outputs and gradients."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from image_networks import (
    patches,
    patches_state,
    pixels,
    pixels_state,
    resnet,
    resnet_state,
    rrdb,
    rrdb_state,
    srvgg,
    srvgg_state,
    unet,
    unet_state,
    with_esrgan_names,
    with_old_names,
)
from PIL import Image
from test_dcgan_parity import keyed
from torch import Tensor, nn

import scalegan
from scalegan import interop
from scalegan.checkpoints import exports
from scalegan.commands import colorize, evaluate
from scalegan.commands.convert import main
from scalegan.errors import UserError

pytestmark = pytest.mark.slow


class Row(NamedTuple):
    """A published network: the family, its tensors, what it computes with them, an input's shape, and the settings of
    `convert`; and the same tensors by the names that a file has."""

    family: str
    state: dict[str, Tensor]
    network: Callable[[dict, Tensor], Tensor]
    shape: tuple[int, ...]
    settings: dict[str, bool] = {}
    named: Callable[[dict], dict] = dict


def signed(network: Callable[[dict, Tensor], Tensor]) -> Callable[[dict, Tensor], Tensor]:
    """A network for pixels in [0, 1], for those in [-1, 1]."""
    return lambda state, x: 2 * network(state, (x + 1) / 2) - 1


def rows() -> dict[str, Row]:
    found = {}
    for norm in ("instance", "old instance", "batch", "none"):
        for dropout in (False, True):
            found[f"ResNet, {norm} norm, {'with' if dropout else 'without'} dropout"] = Row(
                "resnet_i2i", resnet_state(norm, 2, dropout), partial(resnet, norm=norm), (2, 3, 12, 20))
        found[f"U-Net, {norm} norm"] = Row("unet", unet_state(norm, 6), partial(unet, norm=norm), (2, 3, 64, 128))
    for blocks in (6, 9):
        found[f"ResNet of {blocks} blocks, from grey"] = Row(
            "resnet_i2i", resnet_state("instance", blocks, False, 1, 3), partial(resnet, norm="instance"),
            (1, 1, 16, 16))
    for levels in (5, 9):
        found[f"U-Net of {levels} levels, from four channels"] = Row(
            "unet", unet_state("batch", levels, 4, 2), partial(unet, norm="batch"), (1, 4, 2**levels, 2**levels))
    for family, network, state in (("resnet_i2i", resnet, resnet_state("batch", 2, True)),
                                   ("unet", unet, unet_state("batch", 6))):
        found[f"{family}, BatchNorm over each image"] = Row(
            family, state, partial(network, norm="each image"), (2, 3, 64, 64), {"image_statistics": True})
    for unshuffle, enlargements in ((1, 2), (2, 2), (4, 2), (1, 0), (1, 3)):
        found[f"RRDB, scale {2**enlargements // unshuffle}, squares of {unshuffle}"] = Row(
            "rrdb", rrdb_state(unshuffle, enlargements=enlargements), signed(rrdb), (1, 3, 8, 12))
    for enlargements in (1, 2):
        for when, named in (("ESRGAN", with_esrgan_names), ("the old ESRGAN", with_old_names)):
            found[f"RRDB, scale {2**enlargements}, names of {when}"] = Row(
                "rrdb", rrdb_state(enlargements=enlargements), signed(rrdb), (1, 3, 5, 7), named=named)
    for scale, layers in ((4, 3), (2, 2), (1, 2)):
        found[f"SRVGG, scale {scale}"] = Row("srvgg", srvgg_state(scale, layers), signed(srvgg), (2, 3, 7, 9))
    return found


ROWS = rows()
PATCHES = {f"{kind}, {norm} norm": (state, partial(network, norm=norm))
           for norm in ("instance", "batch", "none")
           for kind, network, state in (("one layer", patches, patches_state(norm, 1)),
                                        ("three layers", patches, patches_state(norm, 3)),
                                        ("five layers", patches, patches_state(norm, 5)),
                                        ("pixels", pixels, pixels_state(norm)))}


def check_equal(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], x: Tensor, tolerance: float,
                ) -> None:
    """Outputs and gradients with respect to the input, relative to their largest values."""
    x, answers, gradients = x.requires_grad_(), [], []
    for network in (ours, theirs):
        answers.append(network(x))
        weighted = answers[-1] * keyed("cotangent", *answers[-1].shape).to(x)
        gradients.append(torch.autograd.grad(weighted.sum(), x)[0])
    for mine, other in (answers, gradients):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= tolerance * other.abs().max() and other.abs().max() > 0


@pytest.mark.parametrize("name", ROWS)
def test_answers_and_gradients_are_those_of_the_published_network(name: str) -> None:
    row = ROWS[name]
    ours = getattr(interop, f"{row.family}_generator")(row.named(row.state), **row.settings)
    assert not ours.training
    check_equal(ours, partial(row.network, row.state), keyed("x", *row.shape), 1e-10)


@pytest.mark.parametrize("name", PATCHES)
def test_discriminators_of_patches_are_the_published_ones(name: str) -> None:
    state, theirs = PATCHES[name]
    ours = interop.patch_discriminator(state)
    check_equal(lambda x: ours(x)[0], partial(theirs, state), keyed("x", 2, 6, 96, 128), 1e-10)


# --- files ------------------------------------------------------------------------------------------------------------


def narrow(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def converted(content: object, family: str, folder: Path, *settings: str) -> Path:
    torch.save(content, folder / "theirs.pth")
    arguments = [str(folder / "theirs.pth"), "--family", family, "--out", str(folder / "ours.safetensors")]
    assert main([*arguments, *settings]) == 0
    return folder / "ours.safetensors"


@pytest.mark.parametrize("name", ROWS)
def test_a_converted_file_holds_the_published_network(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    state = narrow(row.state)
    path = converted(row.named(state), row.family, tmp_path, *(f"{key}=true" for key in row.settings))
    check_equal(scalegan.load(path), partial(row.network, state), keyed("x", *row.shape).float(), 1e-5)


def wrapped(state: dict, prefix: str) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


NESTED = {
    "DataParallel": ("unet", unet_state("batch", 5), lambda s: wrapped(s, "module.")),
    "torch.compile": ("srvgg", srvgg_state(2, 2), lambda s: {"params": wrapped(s, "_orig_mod.")}),
    "torch.compile in DataParallel": ("rrdb", with_old_names(rrdb_state()), lambda s: wrapped(s, "module._orig_mod.")),
    "DataParallel in torch.compile": ("rrdb", rrdb_state(), lambda s: wrapped(s, "_orig_mod.module.")),
    "averages before weights": ("rrdb", rrdb_state(), lambda s: {
        "params": {name: torch.zeros_like(value) for name, value in s.items()}, "params_ema": s}),
}


@pytest.mark.parametrize("how", NESTED)
def test_networks_are_found_as_their_trainers_save_them(how: str, tmp_path: Path) -> None:
    family, state, nest = NESTED[how]
    loaded = scalegan.load(converted(nest(narrow(state)), family, tmp_path))
    x = keyed("x", 1, 3, 32, 32).float()
    assert torch.equal(loaded(x), getattr(interop, f"{family}_generator")(narrow(state))(x))


@pytest.mark.parametrize("family", ["unet", "resnet_i2i"])
def test_a_network_from_lightness_to_colours_is_one_that_colorize_takes(family: str, tmp_path: Path) -> None:
    state = unet_state("instance", 5, 1, 2) if family == "unet" else resnet_state("instance", 1, True, 1, 2)
    theirs = partial(unet if family == "unet" else resnet, narrow(state), norm="instance")
    path = converted(narrow(state), family, tmp_path, "--resolution", "64")
    loaded, lightness = scalegan.load(path), keyed("x", 1, 1, 64, 64).float()
    assert loaded.about["spec"]["shape"] == [3, 64, 64] and loaded(lightness).shape == (1, 3, 64, 64)
    check_equal(loaded.chroma, lambda x: 110 * theirs(x), lightness, 1e-5)
    photo = tmp_path / "photo.png"
    Image.new("L", (50, 40), 128).save(photo)
    assert colorize.main([str(path), str(photo), "--out", str(tmp_path / "out")]) == 0
    assert Image.open(tmp_path / "out" / "photo.png").size == (50, 40)


def test_batchnorm_says_whose_statistics_it_uses(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    converted(narrow(resnet_state("batch", 1, False)), "resnet_i2i", tmp_path)
    said = capsys.readouterr().err
    assert "running statistics" in said and "image_statistics=true" in said and said.count("\n") == 1
    converted(narrow(resnet_state("batch", 1, False)), "resnet_i2i", tmp_path, "image_statistics=true")
    converted(narrow(resnet_state("instance", 1, False)), "resnet_i2i", tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("family, state", [("rrdb", rrdb_state()), ("unet", unet_state("instance", 5))])
def test_commands_for_other_networks_answer_in_a_line(family: str, state: dict, tmp_path: Path) -> None:
    path = converted(narrow(state), family, tmp_path)
    with pytest.raises(UserError, match="takes image, not seeds; `scalegan apply` gives it photos"):
        exports.load_generator(path)
    with pytest.raises(UserError, match="give its run, or a folder of its answers") as caught:
        evaluate.main([str(path), "--metrics", "psnr"])
    assert "\n" not in str(caught.value)


# --- what is refused --------------------------------------------------------------------------------------------------


def without(state: dict, name: str) -> dict:
    assert name in state
    return {other: value for other, value in state.items() if other != name}


RESNET, UNET = resnet_state("instance", 2, False), unet_state("batch", 6)
RRDB, SRVGG = rrdb_state(), srvgg_state(4, 2)
REFUSED = {
    "a U-Net as a ResNet": ("resnet_i2i", UNET, "'model.1.weight' is missing; use --family unet"),
    "a ResNet as a U-Net": ("unet", wrapped(RESNET, "module."),
                            "'model.model.0.weight' is missing; use --family resnet_i2i"),
    "SRVGG as RRDB": ("rrdb", SRVGG, "'conv_first.weight' is missing; use --family srvgg"),
    "RRDB as SRVGG": ("srvgg", with_old_names(RRDB), "'body.0.weight' is missing; use --family rrdb"),
    "a discriminator": ("resnet_i2i", patches_state("batch", 3), "convert the generator, such as latest_net_G.pth"),
    "a ResNet that lacks a convolution": ("resnet_i2i", without(RESNET, "model.11.conv_block.1.weight"),
                                          "'model.11.conv_block.1.weight' is missing"),
    "a ResNet that lacks its last layer": ("resnet_i2i", without(RESNET, "model.19.weight"),
                                           "'model.19.weight' is missing"),
    "a U-Net that lacks a statistic": ("unet", without(UNET, "model.model.1.model.2.running_mean"),
                                       "'model.model.1.model.2.running_mean' is missing"),
    "antialiased layers": ("resnet_i2i", RESNET | {"model.7.filt": torch.ones(8, 1, 3, 3)}, "antialiasing filters"),
    "instance norm with gains": ("resnet_i2i", RESNET | {"model.2.weight": torch.ones(4)}, "comes without the bias"),
    "RRDB with another layer": ("rrdb", RRDB | {"body.0.rdb1.conv1x1.weight": torch.ones(4, 4, 1, 1)},
                                "'body.0.rdb1.conv1x1.weight' has no counterpart"),
    "RRDB of odd channels": ("rrdb", RRDB | {"conv_first.weight": torch.ones(4, 6, 3, 3)}, "takes 6 channels"),
    "SRVGG with a gap": ("srvgg", SRVGG | {"body.900000000.weight": torch.ones(48, 4, 3, 3)}, "later one, is missing"),
    "RRDB without channels": ("rrdb", RRDB | {"conv_last.weight": torch.ones(0, 4, 3, 3)}, "_last.weight' is empty"),
    "SRVGG with ReLU": ("srvgg", without(SRVGG, "body.1.weight"), "with PReLU: 'body.1.weight' is missing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_named_in_a_line(what: str, tmp_path: Path) -> None:
    family, state, says = REFUSED[what]
    with pytest.raises(UserError) as caught:
        converted(narrow(state), family, tmp_path)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.parametrize("setting, says", [
    ("image_statistics=true", "image_statistics is about BatchNorm, which this network does not have; leave it out"),
    ("image_statistics=1", "image_statistics is true or false"),
    ("image_statistics=yes", "'yes' is not a number, true, false or null"),
    ("bn_eps=1", "resnet_i2i has image_statistics"),
])
def test_a_setting_that_does_not_fit_is_named_in_a_line(setting: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        converted(narrow(RESNET), "resnet_i2i", tmp_path, setting)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_whole_module_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"asks for .*; .* save the generator's tensors alone"):
        converted(nn.Sequential(nn.Conv2d(3, 3, 3)), "resnet_i2i", tmp_path)
