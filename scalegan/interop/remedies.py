"""What to do with files that hold the right weights in a form that is not read."""

import re
from collections.abc import Iterable

_ROSINALITY = re.compile(r"(convs\.\d+|conv1|to_rgb1)\.conv\.modulation\.weight|input\.input|style\.1\.weight")


def of_class(name: str) -> str:
    """Why an object of this class, such as `models.Generator`, is not read from a pickle, and what to do."""
    if "tflib" in name or name.startswith("tensorflow"):
        return ("it is a TensorFlow network, as StyleGAN and StyleGAN2 were first published; convert it with `python "
                "legacy.py --source=FILE.pkl --dest=OUT.pkl` of NVlabs/stylegan2-ada-pytorch, and then OUT.pkl")
    return (f"it asks for {name}, and code in a file is not run; where that code is, load the file and save the "
            "generator's tensors alone, with torch.save(generator.state_dict(), 'generator.pth')")


def of_names(names: Iterable[str]) -> str | None:
    """Why tensors of these names are not converted, and what to do; None if there is nothing special about them."""
    if any(_ROSINALITY.fullmatch(name.removeprefix("module.")) for name in names):
        return ("these are the tensors of rosinality/stylegan2-pytorch, whose names and scales are its own; convert "
                "NVIDIA's .pkl of the network, if it was made from one")
    return None
