"""What to do with files that hold the right weights in a form that is not read."""

import re
from collections.abc import Mapping

from scalegan.interop.reference import unwrapped

#: Names that only this family has, by family.
_FAMILIES = {
    "resnet_i2i": re.compile(r"model\.\d+\.conv_block\.1\.weight"),
    "unet": re.compile(r"model\.model\.0\.weight"),
    "rrdb": re.compile(r"(body|RRDB_trunk)\.0\.(rdb|RDB)1\.conv1\.weight|model\.1\.sub\.0\.RDB1\.conv1\.0\.weight"),
    "srvgg": re.compile(r"body\.1\.weight"),
    "stargan": re.compile(r"main\.\d+\.main\.0\.weight"),
}
_LABELLING = re.compile(r"conv2\.weight")             # of StarGAN's discriminator, beside main and conv1
_PATCHES = re.compile(r"(model|net)\.0\.weight")     # of a discriminator; generators start with padding


def of_class(name: str) -> str:
    """Why an object of this class, such as `models.Generator`, is not read from a pickle, and what to do."""
    if "tflib" in name or name.startswith("tensorflow"):
        return ("it is a TensorFlow network, as StyleGAN and StyleGAN2 were first published; convert it with `python "
                "legacy.py --source=FILE.pkl --dest=OUT.pkl` of NVlabs/stylegan2-ada-pytorch, and then OUT.pkl")
    return (f"it asks for {name}, and code in a file is not run; where that code is, load the file and save the "
            "generator's tensors alone, with torch.save(generator.state_dict(), 'generator.pth')")


def other_family(tensors: Mapping[str, object], family: str) -> str:
    """A clause that says what tensors are that are not this family's; empty if that is not known."""
    names = unwrapped(tensors)
    found = [other for other, pattern in _FAMILIES.items() if any(pattern.fullmatch(name) for name in names)]
    if found and family not in found:
        return f"; use --family {found[0]}, whose names these are"
    if family == "stargan" and any(_LABELLING.fullmatch(name) for name in names):
        return "; these are the names of a discriminator; convert the generator, such as 200000-G.ckpt"
    if family == "biggan" and "embed.weight" in names:
        return "; these are the names of a discriminator; convert the generator, such as G_ema.pth"
    if not found and any(_PATCHES.fullmatch(name) for name in names):
        return "; these are the names of a discriminator; convert the generator, such as latest_net_G.pth"
    return ""
