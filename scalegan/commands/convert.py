"""Converts another implementation's generator to an export, which `scalegan.load` and the commands read: `sample` for
generators from z; `apply`, `colorize` and the like for networks from image to image.

FILE is a .safetensors file; a .pt, .pth or .tar file from torch.save that holds only tensors and containers; or
NVIDIA's .pkl, whose code is not run. Names and shapes must be those of pytorch/examples (dcgan),
ajbrock/BigGAN-PyTorch (biggan, also for BigGAN-deep), NVlabs/stylegan2-ada-pytorch and stylegan3 or
rosinality/stylegan2-pytorch (stylegan2), brownvc/R3GAN, hse1032/GAT, junyanz/pytorch-CycleGAN-and-pix2pix (resnet_i2i,
unet), ESRGAN, BasicSR or Real-ESRGAN (rrdb, srvgg). Settings that cannot be read off the tensors are given as
KEY=VALUE: bn_eps, sn_eps (biggan); conv_clamp, mapping_lr_multiplier, num_half_res, w_avg_beta, mbstd_group
(stylegan2); image_statistics=true (resnet_i2i and unet with BatchNorm: normalise by each image's own statistics, as
test.py without --eval does).

Of dcgan, biggan, stylegan2, r3gan and gat, what FILE holds beside the generator is converted as well, unless --key
chooses one network: the discriminator, which discriminator=FILE takes from a file of its own, and the live weights of
an averaged generator. A run begins with all of them by init_from=OUT.

The networks of stargan are yunjey/stargan's. FILE is that of G; discriminator=FILE is that of D, which tells
`translate` the attributes that a photo has already; attributes=A,B,... or classes=A,B,... names the labels in order,
where they are not the published Black_Hair, Blond_Hair, Brown_Hair, Male and Young.
"""

import json
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalegan.errors import UsageError
from scalegan.support.arguments import file_named, names, positive, verb_parser, whole

if TYPE_CHECKING:
    from torch import nn

    from scalegan.interop.conversion import Converted

_D = "discriminator"
#: Settings of a family that cannot be read off its tensors.
SETTINGS = {"dcgan": (_D,), "biggan": ("bn_eps", "sn_eps", _D), "r3gan": (_D,), "gat": (_D,),
            "stylegan2": ("conv_clamp", "mapping_lr_multiplier", "num_half_res", "w_avg_beta", "mbstd_group", _D),
            "resnet_i2i": ("image_statistics",), "unet": ("image_statistics",), "rrdb": (), "srvgg": (),
            "stargan": ("attributes", "classes", _D)}
_OF_D = ("mbstd_group",)        # settings of discriminators alone
_RUNNING = ("note: BatchNorm will use its running statistics, as test.py with --eval does; for the answers of test.py "
            "without it, add image_statistics=true")


def main(arguments: list[str]) -> int:
    parser = verb_parser("convert", __doc__,
                         "convert stylegan2-ffhq-256x256.pkl --family stylegan2 --out ffhq.safetensors",
                         "convert netG_epoch_24.pth --family dcgan --out dcgan.safetensors",
                         "convert latest_net_G.pth --family resnet_i2i --out horse2zebra.safetensors",
                         "convert 200000-G.ckpt discriminator=200000-D.ckpt --family stargan --out star.safetensors")
    parser.add_argument("file", type=Path, metavar="FILE", help="checkpoint to convert")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings not in the tensors")
    parser.add_argument("--family", required=True, choices=SETTINGS, help="architecture")
    parser.add_argument("--out", type=file_named("--out", ".safetensors"), required=True,
                        help=".safetensors file to write")
    parser.add_argument("--key", help="key of the network in FILE, such as G_ema or state_dict.netG (default: the "
                        "usual one)")
    parser.add_argument("--resolution", type=positive, help="refuse a network of another resolution; for networks "
                        "that take images of any size, the resolution they were trained at (default 256; 128 for "
                        "stargan)")
    parser.add_argument("--images", type=whole(), default=0, help="number of real images it was trained on, if known")
    options = parser.parse_intermixed_args(arguments)
    settings = _settings(options.family, options.settings)

    from scalegan.checkpoints import exports
    from scalegan.interop import checkpoint_files, published
    from scalegan.interop.conversion import convert
    from scalegan.interop.descriptions import OF_DISCRIMINATORS

    content = checkpoint_files.read(options.file)
    tensors = checkpoint_files.state_dict(content, options.key)
    if options.family == "stargan":
        made = _stargan(tensors, settings, options.resolution)
    else:
        others = {} if options.key else published.beside(content)
        file = settings.pop(_D, "")
        if file:
            others[_D] = published.discriminator_of(checkpoint_files.read(Path(file)))
        of_g = {key: value for key, value in settings.items() if key not in _OF_D}
        made = convert(tensors, options.family, of_g, options.resolution)
        if options.family in OF_DISCRIMINATORS:
            made = _with_others(made, others, options.family, settings, of_g)
    if options.resolution not in (None, made.resolution):
        raise UsageError(f"--resolution {options.resolution}: {options.file} makes images of {made.resolution} px; use "
                         f"--resolution {made.resolution}")
    if made.model.get("norm") == "batch":
        print(_RUNNING, file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    exports.save(_networks(made, options.images), options.out, _live(made))
    print(options.out.resolve())
    return 0


def _with_others(made: "Converted", others: dict[str, dict], family: str, settings: dict, of_g: dict) -> "Converted":
    """The same with the discriminator and the live generator, from the same file as far as they fit."""
    from scalegan.errors import UserError
    from scalegan.interop.conversion import with_discriminator, with_live

    for what, tensors, add, keys in (("generator without averaging", others.get("G"), with_live, of_g),
                                     (_D, others.get(_D) or others.get("D"), with_discriminator, settings)):
        try:
            made = add(made, tensors, family, keys) if tensors else made
        except UserError as error:
            if what == _D and _D in others:         # which was asked for
                raise
            print(f"note: the file's {what} is left out: {error}", file=sys.stderr)
    return made


def _live(made: "Converted") -> "dict[str, nn.Module]":
    """What runs that begin with the file get besides G's average."""
    if made.game["name"] == "stargan":
        return {}
    return {player: network for player, network in (("G", made.live), ("D", made.discriminator)) if network}


def _networks(made: "Converted", images: int) -> "dict[str, nn.Module] | nn.Module":
    from scalegan.checkpoints import converted, exports

    if made.game["name"] != "stargan":
        return exports.of_model(made.generator, made.model, made.specs, images, made.game, made.inputs)
    players = {"G": made.generator} | ({"D": made.discriminator} if made.discriminator else {})
    return converted.networks_of(players, {"model": made.model, "game": made.game}, made.specs, images)


def _stargan(tensors: dict, settings: dict[str, str], resolution: int | None) -> "Converted":
    from scalegan.interop import by_labels, checkpoint_files

    if "attributes" in settings and "classes" in settings:
        raise UsageError("attributes and classes both name the labels; give one of them")
    kind = "classes" if "classes" in settings else "attributes"
    try:
        labels = names(settings[kind]) if kind in settings else ()
    except ArgumentTypeError as error:
        raise UsageError(f"{kind}: {error}") from None
    of_d = None
    if file := settings.get("discriminator"):
        of_d = checkpoint_files.state_dict(checkpoint_files.read(Path(file)))
    return by_labels.convert(tensors, of_d, kind, labels, resolution)


def _settings(family: str, given: list[str]) -> dict[str, Any]:
    """Parses KEY=VALUE items; the family must have the key."""
    found = {}
    for item in given:
        key, _, value = item.partition("=")
        if key not in SETTINGS[family]:
            known = ", ".join(SETTINGS[family]) or "no settings"
            raise UsageError(f"{item}: unknown setting; {family} has {known}")
        if family == "stargan" or key == _D:     # names and files
            found[key] = value
            continue
        try:
            found[key] = json.loads(value)
        except ValueError:
            raise UsageError(f"{item}: '{value}' is not a number, true, false or null") from None
        if (key == "image_statistics") != isinstance(found[key], bool):
            raise UsageError(f"{item}: {key} is {'true or false' if key == 'image_statistics' else 'a number or null'}")
    return found
